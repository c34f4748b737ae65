//! Forecasts by attention over channels and over time.

use headway_model::{CsformerConfig, weights::shapes};

use super::*;

const HORIZON: usize = 2;

fn dims() -> IoDims {
    IoDims::continuous(SEQ_LEN, D_IN, HORIZON * D_IN)
}

fn config(mix_channels: bool) -> CsformerConfig {
    CsformerConfig { d_model: D_MODEL, n_heads: HEADS, d_adapter: D_FFN, mix_channels, ..CsformerConfig::default() }
}

/// The forecast after one sequence, `[horizon, channels]`.
fn forecast(model: &Model, sequence: &[f32], device: &Device) -> Vec<f32> {
    to_host(model.forward_last(Input::Continuous(vectors(sequence, [1, SEQ_LEN, D_IN], device)), 1))
}

/// Over channels and over time attention is one tensor, in memory and in files: a network without the stage of channels has
/// one as well, and lacks the norm and the adapter of that stage alone.
#[test]
fn both_stages_have_one_attention() {
    let of = |mix_channels| shapes(&build(&config(mix_channels).into(), &dims(), 1, &Device::flex()));
    let (both, apart) = (of(true), of(false));
    let own: Vec<&String> = both.keys().filter(|name| !apart.contains_key(*name)).collect();
    assert!(own.iter().all(|name| name.contains(".channel.")) && own.len() == 2 * 6, "{own:?}");
    assert_eq!(both.keys().filter(|name| name.ends_with("attention.query.weight")).count(), 2);
}

/// Channels have no order: changing places in the input, they change places in the forecast.
#[test]
fn channels_that_change_places_do_so_in_the_forecast() {
    for on in devices() {
        let model = build(&config(true).into(), &dims(), 1, &on.device);
        let sequence = numbers(2, SEQ_LEN * D_IN);
        let moved = |rows: &[f32]| -> Vec<f32> {
            rows.chunks_exact(D_IN).flat_map(|row| (0..D_IN).map(|channel| row[(3 * channel + 1) % D_IN])).collect()
        };
        let (plain, of_moved) =
            (forecast(&model, &sequence, &on.device), forecast(&model, &moved(&sequence), &on.device));
        assert_close(on.name, &of_moved, &moved(&plain), on.tolerance);
        assert_ne!(moved(&plain), plain);
    }
}

/// Without the stage of channels a forecast depends on its own channel alone, to the bit; with it on all of them.
#[test]
fn a_channel_sees_the_others_in_the_stage_of_channels_alone() {
    for on in devices() {
        for mix_channels in [false, true] {
            let model = build(&config(mix_channels).into(), &dims(), 1, &on.device);
            let sequence = numbers(2, SEQ_LEN * D_IN);
            let plain = forecast(&model, &sequence, &on.device);
            let mut changed = sequence.clone();
            changed.chunks_exact_mut(D_IN).for_each(|row| row[4] = 1.0 - row[4]);
            let found = forecast(&model, &changed, &on.device);
            for (at, (found, plain)) in found.iter().zip(&plain).enumerate() {
                assert_eq!(
                    found.to_bits() != plain.to_bits(),
                    mix_channels || at % D_IN == 4,
                    "{}, {mix_channels}: {at}",
                    on.name
                );
            }
        }
    }
}

/// By the gradient too: exactly 0 elsewhere.
#[test]
fn the_gradient_of_a_forecast_is_zero_in_other_channels() {
    let device = Device::flex().autodiff();
    let model = build(&config(false).into(), &dims(), 1, &device);
    let x = vectors(&numbers(2, SEQ_LEN * D_IN), [1, SEQ_LEN, D_IN], &device).require_grad();
    // The second step of channel 4.
    let forecast = model.forward_last(Input::Continuous(x.clone()), 1).narrow(2, D_IN + 4, 1);
    let gradient = to_host(x.grad(&forecast.sum().backward()).expect("the forecast depends on the input"));
    for (at, slope) in gradient.iter().enumerate() {
        assert_eq!(*slope != 0.0, at % D_IN == 4, "{at}: {slope}");
    }
}

/// Counted from its last value, a channel that stands higher has the same forecast.
#[test]
fn a_level_that_is_taken_off_does_not_matter() {
    let device = Device::flex();
    let model = build(&CsformerConfig { from_last: true, ..config(true) }.into(), &dims(), 1, &device);
    let sequence: Vec<f32> = numbers(2, SEQ_LEN * D_IN).iter().map(|x| (x * 64.0).round() / 64.0).collect();
    let higher: Vec<f32> = sequence.iter().map(|x| x + 8.0).collect();
    assert_eq!(forecast(&model, &higher, &device), forecast(&model, &sequence, &device));
}

/// The head reads the state behind either stage: if the stage of time adds nothing, what it reads behind that of channels is
/// the answer, with as many channels as times too.
#[test]
fn the_state_behind_the_stage_of_channels_is_read_as_that_behind_time() {
    let device = Device::flex();
    for channels in [D_IN, SEQ_LEN] {
        let dims = IoDims::continuous(SEQ_LEN, channels, HORIZON * channels);
        let model = build(&CsformerConfig { n_layers: 1, ..config(true) }.into(), &dims, 1, &device);
        let mut drawn = arrays(&model);
        let added = drawn.iter_mut().filter(|(name, _)| name.starts_with("blocks.0.time.adapter.contract."));
        added.for_each(|(_, array)| array.values.fill(0.0));
        let (model, _) = load(model, drawn).unwrap();
        let x = vectors(&numbers(2, SEQ_LEN * channels), [1, SEQ_LEN, channels], &device);
        let trace = model.forward_traced(Input::Continuous(x));
        let states: Vec<Tensor<3>> = trace.layers.into_iter().map(|layer| layer.hidden).collect();
        let [behind_channels, behind_time] = [0, 1].map(|stage: usize| to_host(model.read_out(states[stage].clone())));
        assert_eq!(behind_time, behind_channels, "{channels}");
    }
}

#[test]
fn sizes_that_do_not_fit_a_forecast_are_refused() {
    let problem =
        |config: CsformerConfig, dims: &IoDims| ModelConfig::from(config).validate(dims).remove(0).to_string();
    assert_eq!(
        problem(config(true), &IoDims::continuous(SEQ_LEN, D_IN, D_OUT)),
        "forecasts the channels that it is given, and 17 outputs are no whole number of steps of 7 channels; use [model.transformer]"
    );
    let patched = CsformerConfig { patch: 2, ..config(true) };
    assert_eq!(problem(patched, &dims()), "patch: 2 does not divide the 11 positions of a sequence");
}
