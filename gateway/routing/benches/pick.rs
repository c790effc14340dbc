//! Time of the two decisions on every request's way, what a name means and which replica serves, and of building
//! the directory that they read.
//!
//! `cargo bench -p weir-routing`. Fleets have weights 1 to 4; a picked request is finished at once.

#![expect(clippy::unwrap_used, reason = "without its fleet there is nothing to measure")]

#[path = "../tests/support/fleet.rs"]
mod fleet;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_routing::{Ask, Directory, Labels, Needs, Policy};

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for workers in [10, 1_000] {
        let directory = fleet::fleet(workers, 1);
        let labels = Labels::new();
        let pool = fleet::pool(&directory, &fleet::model(0));
        for policy in Policy::ALL {
            group.bench_function(BenchmarkId::new(policy.name(), workers), |bench| {
                let mut random = 0;
                bench.iter(|| {
                    random += 1;
                    pool.pick(black_box(&Ask { policy, needs: Needs::rest(&labels), tried: &[], random }))
                });
            });
        }
    }
    group.finish();
}

fn resolve(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve");
    for models in [10, 1_000] {
        let directory = fleet::fleet(10, models);
        let (model, labels) = (fleet::model(models / 2), Labels::new());
        group.bench_function(BenchmarkId::new("highest version", models), |bench| {
            bench.iter(|| directory.resolve(black_box(&model), None, Needs::rest(&labels)).is_ok());
        });
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for workers in [10, 1_000] {
        let (members, settings) = (fleet::members(workers, 10), fleet::settings());
        let previous = Directory::build(&Directory::default(), &members, &settings);
        group.bench_function(BenchmarkId::new("10 models on workers", workers), |bench| {
            bench.iter(|| Directory::build(black_box(&previous), &members, &settings));
        });
    }
    group.finish();
}

criterion_group!(benches, pick, resolve, build);
criterion_main!(benches);
