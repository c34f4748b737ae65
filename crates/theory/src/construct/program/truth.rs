//! Which head computes which variable of a program, and which columns hold it: what a method of interpretation should find.

use headway_tasks::program::Program;
use serde::Serialize;

use super::{
    layout::Layout,
    nodes::{Kind, Nodes},
};
use crate::schedule::Form;

/// What every head of a constructed network does, and where every variable stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroundTruth {
    /// Version of this layout, 1.
    pub format: u32,
    /// The symbols; column k of the input is symbol k.
    pub alphabet: Vec<String>,
    /// Number of positions.
    pub seq_len: usize,
    /// What has a name in the program, as a linear form of nodes.
    pub variables: Vec<Named>,
    /// What heads compute.
    pub nodes: Vec<Computed>,
    /// The heads, layer by layer.
    pub heads: Vec<Role>,
    /// What is returned, as linear forms of nodes.
    pub returns: Vec<Combination>,
}

/// constant + Σ weight · node
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Combination {
    /// The constant.
    pub constant: f64,
    /// Node and weight.
    pub terms: Vec<(usize, f64)>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its name in the program.
    pub name: String,
    /// Least and largest value.
    pub range: [f64; 2],
    /// Its value.
    #[serde(flatten)]
    pub value: Combination,
    /// The layers to whose input all of its nodes belong, where the form is a direction among the columns; from 0.
    pub readable_before: Vec<usize>,
}

/// A node: an integer at every position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Computed {
    /// Its number.
    pub node: usize,
    /// `symbol`, `position`, `count` or `threshold`.
    pub kind: &'static str,
    /// Its value in terms of other nodes.
    pub text: String,
    /// Least and largest value.
    pub range: [f64; 2],
    /// The layer that computes it, from 0; `None` for what comes in, and for what no output needs.
    pub layer: Option<usize>,
    /// The head of that layer, from 0.
    pub head: Option<usize>,
    /// The columns that hold it in the inputs of layers.
    pub held: Vec<Held>,
}

/// A column of the input of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The layer, from 0; its input is the output of the layer before.
    pub layer: usize,
    /// The column, from 0.
    pub column: usize,
}

/// What a head does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Role {
    /// Its layer, from 0.
    pub layer: usize,
    /// Its number in the layer, from 0.
    pub head: usize,
    /// `carry`: every position attends to itself; `count`: equally to a window; `threshold`: to itself or to the empty row.
    pub role: &'static str,
    /// The window of a count: which positions j a position i attends to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// The nodes that it computes, or hands on; of the last layer, those that are returned.
    pub nodes: Vec<usize>,
}

impl GroundTruth {
    pub(super) fn of(program: &Program, nodes: &Nodes, layouts: &[Layout]) -> Self {
        let texts = Texts { program, nodes };
        let heads: Vec<Role> = layouts.iter().enumerate().flat_map(|(layer, layout)| roles(layer, layout)).collect();
        let held = |node: usize| -> Vec<Held> {
            let columns = layouts.iter().enumerate().filter_map(|(layer, layout)| {
                let column = match nodes.all[node].kind {
                    Kind::Symbol(symbol) if layer == 0 => Some(symbol),
                    _ => layout.incoming.iter().position(|there| *there == node),
                };
                column.map(|column| Held { layer, column })
            });
            columns.collect()
        };
        let computed = (0..nodes.all.len()).map(|node| {
            let head = heads.iter().find(|head| head.role != "carry" && head.nodes.contains(&node));
            Computed {
                node,
                kind: match nodes.all[node].kind {
                    Kind::Symbol(_) => "symbol",
                    Kind::Index => "position",
                    Kind::Count(_) => "count",
                    Kind::Gate => "threshold",
                },
                text: texts.of_node(node),
                range: nodes.all[node].range,
                layer: head.map(|head| head.layer),
                head: head.map(|head| head.head),
                held: held(node),
            }
        });
        let computed: Vec<Computed> = computed.collect();
        let named = nodes.variables.iter().map(|variable| {
            // Positions are known in every layer.
            let needed = variable.form.terms.keys().filter(|node| nodes.all[**node].kind != Kind::Index);
            let needed: Vec<usize> = needed.copied().collect();
            let is_there =
                |layer: &usize| needed.iter().all(|node| computed[*node].held.iter().any(|held| held.layer == *layer));
            let layers = if needed.is_empty() { 0..0 } else { 0..layouts.len() };
            Named {
                name: variable.name.clone(),
                range: nodes.range(&variable.form),
                value: Combination::of(&variable.form),
                readable_before: layers.filter(is_there).collect(),
            }
        });
        Self {
            format: 1,
            alphabet: program.alphabet.clone(),
            seq_len: nodes.seq_len,
            variables: named.collect(),
            returns: nodes.outputs.iter().map(Combination::of).collect(),
            nodes: computed,
            heads,
        }
    }
}

impl Combination {
    fn of(form: &Form) -> Self {
        Self { constant: form.constant, terms: form.terms.iter().map(|(node, weight)| (*node, *weight)).collect() }
    }
}

/// The heads of a layer, in the order in which they are written.
fn roles(layer: usize, layout: &Layout) -> Vec<Role> {
    let carried: Vec<usize> = {
        let mut nodes: Vec<usize> = layout.carried.iter().flat_map(|form| form.terms.keys().copied()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    };
    let carrying = (!layout.carried.is_empty()).then_some(("carry", None, carried));
    let counting = layout.counts.iter().map(|(window, nodes)| ("count", Some(window.to_string()), nodes.clone()));
    let gates = layout.gates.iter().map(|node| ("threshold", None, vec![*node]));
    let all = carrying.into_iter().chain(counting).chain(gates).enumerate();
    all.map(|(head, (role, window, nodes))| Role { layer, head, role, window, nodes }).collect()
}

/// Nodes in words.
struct Texts<'a> {
    program: &'a Program,
    nodes: &'a Nodes,
}

impl Texts<'_> {
    fn of_node(&self, node: usize) -> String {
        let argument = self.nodes.all[node].argument.as_ref().map(|form| self.of_form(form));
        match (self.nodes.all[node].kind, argument) {
            (Kind::Symbol(symbol), _) => format!("'{}'", self.program.alphabet[symbol]),
            (Kind::Index, _) => "i".to_owned(),
            (Kind::Count(window), Some(of)) => format!("#[{window}] ({of})"),
            (Kind::Gate, Some(of)) => format!("{of} >= 1"),
            (_, None) => String::new(),
        }
    }

    /// The name of a node: that of a variable that is nothing else, or its number.
    fn name(&self, node: usize) -> String {
        if matches!(self.nodes.all[node].kind, Kind::Symbol(_) | Kind::Index) {
            return self.of_node(node);
        }
        let alone = Form::node(node);
        let named = self.nodes.variables.iter().find(|variable| variable.form == alone && !variable.name.contains(' '));
        named.map_or_else(|| format!("v{node}"), |variable| variable.name.clone())
    }

    fn of_form(&self, form: &Form) -> String {
        let mut text = String::new();
        let mut add = |weight: f64, name: Option<String>| {
            let sign = match (text.is_empty(), weight < 0.0) {
                (true, false) => "",
                (true, true) => "-",
                (false, false) => " + ",
                (false, true) => " - ",
            };
            let size = weight.abs();
            let term = match name {
                Some(name) if (size - 1.0).abs() < f64::EPSILON => name,
                Some(name) => format!("{size} {name}"),
                None => size.to_string(),
            };
            text.extend([sign, &term]);
        };
        // What is added comes before what is taken away.
        for sign in [1.0, -1.0] {
            for (node, weight) in form.terms.iter().filter(|(_, weight)| *weight * sign > 0.0) {
                add(*weight, Some(self.name(*node)));
            }
        }
        if form.constant != 0.0 || form.terms.is_empty() {
            add(form.constant, None);
        }
        text
    }
}
