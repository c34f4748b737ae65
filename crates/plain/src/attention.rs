//! What attention patterns attend to: scores of a head, each the mean over queries of a number about one query.
//!
//! p_i is row i of the pattern: the probabilities that query i gives to its visible keys. Queries are the first rows of
//! a layer's state, so query i is row i of the state. Keys may be other rows, or learned vectors that are no rows at
//! all.

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Row of the state; `None` for a key that is no row, such as a learned prefix.
    pub row: Option<usize>,
    /// Whether the key is learned (an anchor, a prefix) instead of coming from the sequence.
    pub is_learned: bool,
}

/// What the rows and columns of a pattern stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of queries.
    pub q_len: usize,
    /// What each key stands for. `[k_len]`
    pub keys: Vec<Key>,
    /// Whether query i sees only keys 0 ..= i + (`k_len` − `q_len`).
    pub is_causal: bool,
}

/// One row of a pattern, with what a [`Measure`] may need to know about it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Index i of the query.
    pub row: usize,
    /// p_i. `[k_len]`
    pub weights: &'a [f64],
    /// What its keys stand for.
    pub layout: &'a Layout,
    /// Tokens of the sequence, by row; `None` if the positions hold no tokens.
    pub tokens: Option<&'a [u32]>,
}

/// A number about one query; `None` if it is undefined for that query.
pub type Measure<'a> = dyn Fn(&Query<'_>) -> Option<f64> + 'a;

/// A score of a head: the mean of a measure over the queries for which it is defined.
pub struct Score {
    /// Name in tables.
    pub name: &'static str,
    /// Formula of the measure, for the row of query i.
    pub formula: &'static str,
    /// Whether it is a share of a query's attention, which means something only where it exceeds that of uniform
    /// attention.
    pub is_mass: bool,
    /// The measure to average.
    pub measure: fn(&Query<'_>) -> Option<f64>,
}

/// All scores of a head, in the order of tables.
pub const SCORES: &[Score] = &[
    Score {
        name: "entropy",
        formula: "H_i = -sum_j p_ij ln p_ij, in nats",
        is_mass: false,
        measure: |query| Some(query.entropy()),
    },
    Score {
        name: "relative entropy",
        formula: "H_i / ln(keys that i sees), for queries that see two or more; 1 is uniform",
        is_mass: false,
        measure: |query| query.has_choice().then(|| query.entropy() / (query.visible() as f64).ln()),
    },
    Score {
        name: "first key",
        formula: "p_i0, the mass on the first key that is a row, for queries that see two keys or more: a sink",
        is_mass: true,
        measure: |query| {
            let first = query.layout.keys.iter().position(|key| key.row.is_some())?;
            query.has_choice().then(|| query.weights[first])
        },
    },
    Score {
        name: "learned keys",
        formula: "sum of p_ij over keys j that are learned, not read from the sequence: anchors, prefixes",
        is_mass: true,
        measure: |query| query.mass(|key| key.is_learned),
    },
    Score {
        name: "distance",
        formula: "sum_j p_ij |i - j| / sum_j p_ij over keys j that are rows",
        is_mass: false,
        measure: |query| query.distance(),
    },
    Score {
        name: "own",
        formula: "p_ii, for queries that see two keys or more",
        is_mass: true,
        measure: |query| if query.has_choice() { query.mass(|key| key.row == Some(query.row)) } else { None },
    },
    Score {
        name: "previous",
        formula: "p_i,i-1",
        is_mass: true,
        measure: |query| query.mass(|key| key.row.is_some() && key.row == query.row.checked_sub(1)),
    },
    Score {
        name: "induction",
        formula: "sum of p_ij over j <= i with token j-1 = token i and j-1 < i, for queries i that have such a j",
        is_mass: true,
        measure: |query| {
            let tokens = query.tokens?;
            let token = tokens.get(query.row)?;
            query.mass(|key| {
                let before = key.row.filter(|row| *row <= query.row).and_then(|row| row.checked_sub(1));
                before.is_some_and(|before| tokens.get(before) == Some(token))
            })
        },
    },
];

impl Layout {
    /// Number of keys that a query sees; they are the first ones.
    pub fn visible(&self, query: usize) -> usize {
        let k_len = self.keys.len();
        if self.is_causal { (query + 1 + k_len).saturating_sub(self.q_len).min(k_len) } else { k_len }
    }

    /// The pattern that spreads each query's attention evenly over its visible keys: the baseline of a head's scores.
    /// `[q_len, k_len]`
    pub fn uniform(&self) -> Vec<f64> {
        let k_len = self.keys.len();
        let row = |query| {
            let visible = self.visible(query);
            (0..k_len).map(move |key| if key < visible { 1.0 / visible as f64 } else { 0.0 })
        };
        (0..self.q_len).flat_map(row).collect()
    }

    /// Sum of a measure over the queries of one sequence's pattern, and the number of queries for which it is defined.
    ///
    /// # Shapes
    /// pattern `[q_len, k_len]`, tokens `[seq_len]`
    pub fn total(&self, pattern: &[f64], tokens: Option<&[u32]>, measure: &Measure<'_>) -> (f64, usize) {
        let queries = pattern.chunks_exact(self.keys.len().max(1)).enumerate();
        let values = queries.filter_map(|(row, weights)| measure(&Query { row, weights, layout: self, tokens }));
        values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1))
    }
}

impl Query<'_> {
    /// Number of keys that the query sees.
    pub fn visible(&self) -> usize {
        self.layout.visible(self.row)
    }

    /// Whether the query sees more than one key; with a single key every pattern is the same.
    pub fn has_choice(&self) -> bool {
        self.visible() > 1
    }

    /// Entropy of the row, −Σ_j p_ij ln p_ij.
    pub fn entropy(&self) -> f64 {
        self.weights.iter().filter(|weight| **weight > 0.0).map(|weight| -weight * weight.ln()).sum()
    }

    /// Sum of the weights on the visible keys that are wanted; `None` if no visible key is.
    pub fn mass(&self, is_wanted: impl Fn(&Key) -> bool) -> Option<f64> {
        let seen = self.layout.keys.iter().zip(self.weights).take(self.visible());
        let mut wanted = seen.filter(|(key, _)| is_wanted(key)).map(|(_, weight)| *weight).peekable();
        wanted.peek()?;
        Some(wanted.sum())
    }

    fn distance(&self) -> Option<f64> {
        let rows = self.layout.keys.iter().zip(self.weights).filter_map(|(key, weight)| Some((key.row?, *weight)));
        let (mass, way) = rows.fold((0.0, 0.0), |(mass, way), (row, weight)| {
            (mass + weight, way + weight * row.abs_diff(self.row) as f64)
        });
        (mass > 0.0).then(|| way / mass)
    }
}
