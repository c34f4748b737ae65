//! The page about ablated heads and layers.

use headway_draw::{Heatmap, number};
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};
use headway_inspect::{Ablation, AblationKind, Effect, Measured, counted};

/// Name of the table.
pub(super) const NAME: &str = "ablation";

/// The page: one map of effects on the loss per kind of ablation, and the numbers.
pub fn page(ablation: &Ablation) -> Page {
    let table = self::table(ablation, number);
    let findings = findings(ablation);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    for with in withs(ablation) {
        let note = format!(
            "By how much the loss rises when what a head mixes from the values, before the output projection, is replaced by {}. Orange \
             is a rise, blue a fall; the last column is all heads of the layer at once.",
            replacement(with)
        );
        let title = format!("Rise of the loss with each head replaced by {}", with.name());
        builder.figure(format!("ablation-{}", with.name()), title, note, heatmap(ablation, with).to_svg());
    }
    let note = format!(
        "Differences to the whole network, whose loss is {} and whose {} is {}, on {}; ± is one standard error over examples of the \
         paired difference.",
        number(ablation.whole.loss),
        ablation.metric,
        number(ablation.whole.metric),
        counted(ablation.examples, "test example"),
    );
    builder.table("Every head and every layer", note, table.clone());
    let tables = vec![(NAME, self::table(ablation, exact))];
    builder.page(
        "Heads out of action",
        format!("{}.", ablation.subject.sentence()),
        table,
        findings,
        json!(ablation),
        tables,
    )
}

fn replacement(with: AblationKind) -> &'static str {
    match with {
        AblationKind::Zero => "zero",
        AblationKind::Mean => "its mean over the evaluated sequences and their queries",
    }
}

/// The kinds of ablation that occur, in order.
fn withs(ablation: &Ablation) -> Vec<AblationKind> {
    let is_there = |with: &AblationKind| ablation.effects.iter().any(|effect| effect.with == *with);
    AblationKind::ALL.iter().map(|(with, _)| *with).filter(is_there).collect()
}

fn heatmap(ablation: &Ablation, with: AblationKind) -> Heatmap {
    let most = ablation.n_heads.iter().copied().max().unwrap_or(0);
    let is_several = ablation.n_heads.iter().any(|heads| *heads > 1);
    let find = |layer: usize, head: Option<usize>| {
        let is_it = |effect: &&Effect| effect.layer == layer && effect.head == head && effect.with == with;
        ablation.effects.iter().find(is_it).and_then(|effect| effect.loss.value)
    };
    let values = ablation.n_heads.iter().enumerate().map(|(layer, heads)| {
        let each = (0..most).map(|head| if head < *heads { find(layer, Some(head)) } else { None });
        each.chain(is_several.then(|| find(layer, None))).collect()
    });
    let columns = (0..most).map(|head| format!("head {head}")).chain(is_several.then(|| "all".to_owned()));
    Heatmap {
        title: format!("Rise of the loss with each head replaced by {}", with.name()),
        rows: (0..ablation.n_heads.len()).map(|layer| format!("layer {layer}")).collect(),
        columns: columns.collect(),
        values: values.collect(),
        counts: false,
    }
}

/// One row per head and per layer, with columns for each kind of ablation.
fn table(ablation: &Ablation, write: Write) -> Table {
    let withs = withs(ablation);
    // If the objective is the squared error itself, one of the two columns is enough.
    let has_metric = ablation.effects.iter().any(|effect| effect.metric != effect.loss);
    let mut header = vec!["layer".to_owned(), "head".to_owned()];
    for with in &withs {
        for what in [Some("loss"), has_metric.then_some(ablation.metric)].into_iter().flatten() {
            header.extend(["", " ±"].map(|of| format!("{}: {what}{of}", with.name())));
        }
    }
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    for effect in ablation.effects.iter().filter(|effect| Some(&effect.with) == withs.first()) {
        let head = effect.head.map_or("all".to_owned(), |head| head.to_string());
        let mut row = vec![Some(effect.layer.to_string()), Some(head)];
        let same = |other: &&Effect| other.layer == effect.layer && other.head == effect.head;
        for effect in ablation.effects.iter().filter(same) {
            let changes = [Some(effect.loss), has_metric.then_some(effect.metric)];
            for Measured { value, error } in changes.into_iter().flatten() {
                row.extend([value.map(write), error.map(write)]);
            }
        }
        rows.push(row);
    }
    Table { header, rows }
}

fn findings(ablation: &Ablation) -> Vec<String> {
    let mut findings = vec![format!(
        "The whole network has a loss of {} and {} {} on {}.",
        number(ablation.whole.loss),
        ablation.metric,
        number(ablation.whole.metric),
        counted(ablation.examples, "test example")
    )];
    for with in withs(ablation) {
        let name = with.name();
        let value = |effect: &Effect| effect.loss.value.unwrap_or(f64::NEG_INFINITY);
        let heads: Vec<&Effect> =
            ablation.effects.iter().filter(|effect| effect.with == with && effect.head.is_some()).collect();
        if let Some(most) = heads.iter().max_by(|a, b| value(a).total_cmp(&value(b))) {
            findings.push(format!(
                "Replaced by {name}, head {} of layer {} raises the loss most: by {}.",
                most.head.unwrap_or(0),
                most.layer,
                measured(most.loss)
            ));
        }
        let idle = heads.iter().filter(|effect| !effect.loss.is_clear()).count();
        let harmful = heads.iter().filter(|effect| effect.loss.is_clear() && value(effect) < 0.0).count();
        findings.push(if idle == 0 {
            format!("Replaced by {name}, each head changes the loss by more than two standard errors; {harmful} of {} lower it.", heads.len())
        } else {
            let heads = counted(heads.len(), "head");
            format!("Replaced by {name}, {idle} of {heads} leave the loss within two standard errors, and {harmful} clearly lower it.")
        });
        let layers = ablation.effects.iter().filter(|effect| effect.with == with && effect.head.is_none());
        if let Some(most) = layers.max_by(|a, b| value(a).total_cmp(&value(b))) {
            findings.push(format!(
                "Replaced by {name}, all heads of layer {} raise the loss most: by {}.",
                most.layer,
                measured(most.loss)
            ));
        }
    }
    findings
}

fn measured(Measured { value, error }: Measured) -> String {
    let value = value.map_or("more than can be said".to_owned(), number);
    error.map_or(value.clone(), |error| format!("{value} ± {}", number(error)))
}
