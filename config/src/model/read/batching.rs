//! The keys of `[batching]`.
//!
//! What the lengths of buckets are for is told by the inputs, which are read later: see [`Buckets`].

use std::time::Duration;

use crate::{
    model::BatchingSection,
    reader::{Item, Place, Read, Table},
    value::{duration, integer, list},
};

use super::{HOUR, MINUTE};

/// Default of `max_queue_size`, in rows.
const QUEUE_ROWS: u32 = 1024;
/// Most lengths of `buckets`: each is warmed up, and shares no batch with the others.
const MAX_BUCKETS: usize = 64;
/// Longest bucket, in elements; as that of a shape.
const MAX_LENGTH: i64 = 1 << 40;
const SHORTEST: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The place of `buckets` when the file sets any, rightly or not, so that the inputs can be held against them.
pub(super) type Buckets<'a> = Option<Place<'a>>;

/// Reads the table; `max_batch_size` as in the root, where 0 = no batches.
pub(super) fn read<'a>(
    table: &mut Table<'a>,
    max_batch_size: u32,
    buckets_at: &mut Buckets<'a>,
) -> Read<BatchingSection> {
    let max_queue_delay = table.or("max_queue_delay", Duration::ZERO, duration(Duration::ZERO..=MINUTE));
    let default = QUEUE_ROWS.max(max_batch_size);
    let max_queue_size = table.or("max_queue_size", default, integer::<u32>(1..=16_777_216));
    if max_queue_size < max_batch_size {
        let message =
            format!("{max_queue_size} rows can never fill a batch of max_batch_size = {max_batch_size}");
        table.wrong("max_queue_size", message, format!("write at least {max_batch_size}"));
    }
    let most = i64::from(max_batch_size.max(1));
    let preferred_batch_size =
        table.or("preferred_batch_size", Vec::new(), |item| ascending(item, "[8, 32]", most));
    let default_timeout = table.optional("default_timeout", duration(SHORTEST..=DAY));
    let (priority_levels, default_priority) = priorities(table);
    let ageing = table.or("ageing", Duration::from_secs(1), duration(SHORTEST..=HOUR));
    let buckets = buckets(table, max_batch_size, buckets_at);
    Ok(BatchingSection {
        max_queue_delay,
        max_queue_size,
        preferred_batch_size,
        default_timeout,
        priority_levels,
        default_priority,
        ageing,
        buckets,
    })
}

/// `priority_levels` and `default_priority`.
fn priorities(table: &mut Table<'_>) -> (u8, u8) {
    let levels: u8 = table.or("priority_levels", 1, integer(1..=16));
    let middle = levels.div_ceil(2);
    (levels, table.or("default_priority", middle, integer(1..=i64::from(levels))))
}

fn buckets<'a>(table: &mut Table<'a>, max_batch_size: u32, at: &mut Buckets<'a>) -> Vec<u64> {
    let read = table.optional("buckets", |item| {
        let lengths = ascending(item, "[32, 128, 512]", MAX_LENGTH)?;
        if lengths.len() > MAX_BUCKETS {
            return Err(
                item.wrong(format!("{} buckets", lengths.len()), format!("write at most {MAX_BUCKETS}"))
            );
        }
        Ok(lengths)
    });
    if table.has("buckets") && read.as_ref().is_none_or(|lengths| !lengths.is_empty()) {
        *at = Some(table.place("buckets"));
        if max_batch_size == 0 {
            let message = "requests are padded to share batches, and max_batch_size is 0".to_owned();
            table.wrong("buckets", message, "set max_batch_size, or remove the buckets".to_owned());
        }
    }
    read.unwrap_or_default()
}

/// Whole numbers from 1 to `most`, each larger than the one before.
fn ascending<T: TryFrom<i64> + PartialOrd>(item: &Item<'_>, example: &str, most: i64) -> Read<Vec<T>> {
    let numbers: Vec<T> = list(item, 0, example, integer(1..=most))?;
    if numbers.is_sorted_by(|a, b| a < b) {
        return Ok(numbers);
    }
    Err(item
        .wrong("each number must be larger than the one before", format!("write a list such as {example}")))
}
