//! What a request does in this crate allocates nothing and names no lock: resolve, pick, send, finish.
//!
//! In a process of its own, because it replaces the allocator.

#[cfg(test)]
#[path = "support/fleet.rs"]
mod fleet;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    path::Path,
};

use weir_protocol::WorkerId;
use weir_routing::{Admission, Ask, Labels, Needs, Policy};

thread_local! {
    /// Calls to the allocator by this thread. Initialised at compile time and without destructor: the allocator
    /// may touch it at any moment of a thread's life.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to the allocator while `work` runs.
fn allocator_calls(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocator_calls(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn a_request_from_admission_to_its_end_allocates_nothing() {
    let directory = fleet::fleet(100, 3);
    let admission = Admission::new(1);
    let (model, labels) = (fleet::model(1), Labels::new());
    let needs = Needs { labels: &labels, grpc: true };
    let tried: Vec<WorkerId> = vec!["worker-3".parse().unwrap(), "worker-7".parse().unwrap()];
    for policy in Policy::ALL {
        let calls = allocator_calls(|| {
            for random in 0..1_000 {
                let permit = admission.admit().unwrap();
                let (_, pool) = directory.resolve(&model, None, needs).unwrap();
                let (mut lease, decision) = pool.pick(&Ask { policy, needs, tried: &tried, random }).unwrap();
                assert_eq!((decision.considered, decision.excluded.total()), (98, 2));
                lease.mark_sent();
                drop((lease, permit));
            }
        });
        assert_eq!(calls, 0, "{policy:?}");
    }
}

#[test]
fn a_pick_that_finds_nothing_allocates_nothing() {
    let directory = fleet::fleet(10, 1);
    let labels = Labels::from([("tier".into(), "gold".into())]);
    let pool = fleet::pool(&directory, &fleet::model(0));
    for policy in Policy::ALL {
        let calls = allocator_calls(|| {
            let excluded =
                pool.pick(&Ask { policy, needs: Needs::rest(&labels), tried: &[], random: 1 }).unwrap_err();
            assert_eq!(excluded.total(), 10);
        });
        assert_eq!(calls, 0, "{policy:?}");
    }
}

#[test]
fn no_source_file_names_a_lock_or_a_channel() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            read += 1;
            for lock in ["Mutex", "RwLock", "Condvar", "OnceLock", "mpsc"] {
                assert!(!text.contains(lock), "{} names {lock}", path.display());
            }
        }
    }
    assert!(read > 10, "only {read} source files were found");
}
