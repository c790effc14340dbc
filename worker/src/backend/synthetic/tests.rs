//! The cost model's arithmetic, and answers that can be checked.

use weir_config::{
    ModelConfig,
    model::{BackendConfig, Padding},
};
use weir_protocol::{Bytes as Size, Datatype};

use super::*;
use crate::device::Cpu;

fn section(text: &str) -> SyntheticSection {
    let tensor = |kind: &str| format!("[[{kind}]]\nname = \"t\"\ndatatype = \"FP32\"\nshape = [-1]\n");
    let toml = format!("backend = \"synthetic\"\n{}{}[synthetic]\n{text}", tensor("input"), tensor("output"));
    match ModelConfig::parse(&toml, std::path::Path::new("model.toml")).unwrap().backend {
        BackendConfig::Synthetic(section) => section,
        BackendConfig::Torch => panic!("not synthetic"),
    }
}

fn spec(datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: "y".to_owned(), datatype, shape: shape.to_vec(), labels: None, padding: Padding::None }
}

fn load_quick(text: &str, outputs: &[TensorSpec], cpu: &Arc<Cpu>) -> Arc<dyn Backend> {
    let host = Host { cpu: Arc::clone(cpu), intra_op_threads: 1 };
    load(&section(&format!("base = \"0s\"\nper_item = \"0s\"\n{text}")), outputs, &host)
}

fn batch() -> InputBatch<'static> {
    InputBatch::whole(Datatype::Uint8, vec![3, 2], vec![&[1, 2], &[3, 4, 5, 6]])
}

#[test]
fn the_cost_grows_with_rows_and_shrinks_with_speed() {
    let section = section("base = \"10ms\"\nper_item = \"2ms\"\nspeed = 2.0");
    assert_eq!(cost(&section, 1), Duration::from_millis(6));
    assert_eq!(cost(&section, 15), Duration::from_millis(20));
}

#[test]
fn noise_has_a_mean_of_one_and_the_spread_that_was_asked_for() {
    let draws: Vec<f64> = (0..40_000).map(|_| lognormal(0.5)).collect();
    let count = f64::from(40_000);
    let mean = draws.iter().sum::<f64>() / count;
    let deviation = (draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / count).sqrt();
    // Six standard errors of each.
    assert!((mean - 1.0).abs() < 0.015 && (deviation - 0.5).abs() < 0.05, "{mean} {deviation}");
    assert!(draws.iter().all(|draw| *draw > 0.0));
    assert_eq!(lognormal(0.0), 1.0);
}

#[test]
fn an_output_like_the_first_input_echoes_it_and_others_are_zeros() {
    let outputs =
        [spec(Datatype::Uint8, &[-1, 2]), spec(Datatype::Uint8, &[-1, 3]), spec(Datatype::Int16, &[-1, -1])];
    let model = load_quick("", &outputs, &Cpu::new(Size::mib(1)));
    let given = model.forward(&[batch()]).unwrap();
    let shapes: Vec<_> = given.iter().map(|output| output.shape.clone()).collect();
    assert_eq!(shapes, [vec![3, 2], vec![3, 3], vec![3, 1]]);
    assert_eq!(given[0].data, Bytes::from_static(&[1, 2, 3, 4, 5, 6]));
    assert_eq!((&given[1].data[..], &given[2].data[..]), (&[0; 9][..], &[0; 6][..]));
}

#[test]
fn bytes_are_echoed_too_and_empty_where_nothing_is_to_echo() {
    let outputs = [spec(Datatype::Bytes, &[-1, 2]), spec(Datatype::Bytes, &[-1, 3])];
    let model = load_quick("", &outputs, &Cpu::new(Size::mib(1)));
    let rows = [&b"\x01\0\0\0a\0\0\0\0"[..], &b"\x02\0\0\0bc\x01\0\0\0d"[..]];
    let batch = InputBatch::whole(Datatype::Bytes, vec![2, 2], rows.to_vec());
    let given = model.forward(&[batch]).unwrap();
    assert_eq!(given[0].data, rows.concat());
    assert_eq!((&given[1].shape[..], &given[1].data[..]), (&[2, 3][..], &[0; 6 * 4][..]));
}

#[test]
fn failures_come_as_often_as_asked() {
    let cpu = Cpu::new(Size::mib(1));
    let failures = |ratio: &str| {
        let model = load_quick(&format!("failure_ratio = {ratio}"), &[spec(Datatype::Uint8, &[-1, 2])], &cpu);
        (0..2_000).filter(|_| model.forward(&[batch()]).is_err()).count()
    };
    assert_eq!((failures("0.0"), failures("1.0")), (0, 2_000));
    // Eight standard deviations of a binomial count.
    assert!((800..1_200).contains(&failures("0.5")));
}

#[test]
fn its_memory_counts_while_it_is_loaded() {
    let cpu = Cpu::new(Size::mib(1 << 20));
    let before = cpu.free();
    let model = load_quick("memory = \"64 MiB\"", &[], &cpu);
    let taken = before.0 - cpu.free().0;
    assert!(taken >= Size::mib(48).0, "only {taken} bytes are counted");
    drop(model);
    assert!(cpu.free().0 > before.0 - Size::mib(16).0);
}
