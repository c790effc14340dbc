//! What models run on and how much memory there is for them. For now one device: the CPU.
//!
//! Libtorch allocates through glibc's malloc while Rust's own allocations go through mimalloc (see `main`), so
//! malloc's own statistics say what models hold. Files are read by the caller and passed in as text.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use weir_protocol::Bytes;

/// Tunes glibc's malloc for large tensors that come and go. Call first thing in `main`, before any thread exists:
/// by default every big tensor is mapped and returned to the kernel at once, and the page faults cost a third of the
/// time of a large convolution (docs/PERFORMANCE.md, "Large tensors"). False when glibc refused some of it.
#[must_use]
pub fn tune_malloc() -> bool {
    const GIB: libc::c_int = 1 << 30;
    let set = |option, value| {
        // SAFETY: mallopt takes two integers by value and reports a refusal by returning 0.
        unsafe { libc::mallopt(option, value) == 1 }
    };
    let done = [
        // Its documented limit is 32 MiB, which newer glibc does not mind; where it does, nothing at all is mapped.
        set(libc::M_MMAP_THRESHOLD, GIB) || set(libc::M_MMAP_MAX, 0),
        set(libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
        set(libc::M_TOP_PAD, GIB / 4),
        // Each further arena would keep memory of its own.
        set(libc::M_ARENA_MAX, 1),
    ];
    done.into_iter().all(|done| done)
}

/// Lets the process open as many sockets as the system allows it at all: the usual soft limit of 1,024 is less than
/// the requests that a worker may have in flight. Returns the limit in effect; 0 when it cannot be read.
#[must_use]
pub fn raise_open_files_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0)
}

/// Lowers the calling thread's priority for good, and that of threads it starts: beside threads that have not, it gets
/// about a tenth of a core; on a core that nobody wants, all of it.
pub fn lower_priority() {
    /// Where 0 is usual and 19 the lowest.
    const NICE: libc::c_int = 10;
    // SAFETY: takes integers by value. On Linux 0 means the calling thread alone. Without the right to do it nothing
    // changes, and nothing depends on it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// The CPU as a device: its memory budget and what is in use.
#[derive(Debug)]
pub struct Cpu {
    total: Bytes,
    /// Model memory that malloc's statistics do not show.
    held: AtomicU64,
}

impl Cpu {
    /// A CPU with the given budget for models.
    #[must_use]
    pub fn new(total: Bytes) -> Arc<Self> {
        Arc::new(Self { total, held: AtomicU64::new(0) })
    }

    /// Memory that models may use in all.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.total
    }

    /// Memory still free of it; zero when more than the budget is in use.
    #[must_use]
    pub fn free(&self) -> Bytes {
        let used = malloc_used().saturating_add(self.held.load(Ordering::Relaxed));
        Bytes(self.total.0.saturating_sub(used))
    }

    /// Counts memory that was allocated for a model outside malloc, until the guard is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, size: Bytes) -> Held {
        self.held.fetch_add(size.0, Ordering::Relaxed);
        Held { cpu: Arc::clone(self), size }
    }
}

/// Memory counted against a device. Dropping it gives the count back.
#[derive(Debug)]
pub struct Held {
    cpu: Arc<Cpu>,
    size: Bytes,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cpu.held.fetch_sub(self.size.0, Ordering::Relaxed);
    }
}

/// Gives memory that malloc keeps for later back to the system. It was told to keep all of it ([`tune_malloc`]), which
/// is right while models run and wrong when one has gone.
pub fn give_back_memory() {
    // SAFETY: malloc_trim takes an integer and locks the arenas itself.
    unsafe { libc::malloc_trim(0) };
}

fn malloc_used() -> u64 {
    // SAFETY: mallinfo2 takes nothing and returns a plain struct by value; it locks the arenas itself.
    let info = unsafe { libc::mallinfo2() };
    u64::try_from(info.uordblks.saturating_add(info.hblkhd)).unwrap_or(u64::MAX)
}

/// Memory that this process may use: the tightest limit of its control groups, else the machine's memory.
/// `read` returns a file's text, `None` when there is none.
#[must_use]
pub fn memory_limit(read: &dyn Fn(&Path) -> Option<String>) -> Bytes {
    let physical = physical_memory();
    cgroup_limit(read).map_or(physical, |limit| limit.min(physical))
}

fn physical_memory() -> Bytes {
    // SAFETY: sysconf takes an integer and returns one; -1 means unknown and is handled below.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let bytes = u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(size).unwrap_or(0));
    Bytes(if bytes == 0 { u64::MAX } else { bytes })
}

/// The tightest `memory.max` on the way from the process's control group (version 2) to the root.
fn cgroup_limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<Bytes> {
    let membership = read(Path::new("/proc/self/cgroup"))?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/"))?.trim_end();
    let own = Path::new("/sys/fs/cgroup").join(own);
    let limits =
        own.ancestors().take_while(|group| group.starts_with("/sys/fs/cgroup")).filter_map(|group| {
            let text = read(&group.join("memory.max"))?;
            text.trim().parse().ok().map(Bytes)
        });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(files: &[(&str, &str)]) -> Option<Bytes> {
        cgroup_limit(&|path: &Path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_tightest_control_group_on_the_way_up_decides() {
        let files = [
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
        ];
        assert_eq!(limit(&files), Some(Bytes(1_000)));
        assert_eq!(limit(&files[..2]), None);
        assert_eq!(limit(&[]), None);
    }

    #[test]
    fn held_memory_is_given_back_on_drop() {
        let cpu = Cpu::new(Bytes(u64::MAX));
        let held = cpu.hold(Bytes::mib(1 << 20));
        let with = cpu.free();
        drop(held);
        assert!(cpu.free().0 - with.0 > Bytes::mib(1 << 19).0);
    }
}
