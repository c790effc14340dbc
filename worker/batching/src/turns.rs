//! Whose turn it is: an ordered index over things that wait for a lane.
//!
//! Used twice, alike: over the buckets of a queue and over the queues of a device. Knows times and keys only; what makes
//! something ready, wake or doomed is decided by whoever sets its standing. Every operation is logarithmic in the number
//! of things that have something queued; idle ones are not in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Order of turns: when the oldest ticket came (or what the turn order makes of that), then the order of arrival.
pub(crate) type Turn = (Duration, u64);

/// How something stands in the line for a lane. The default, all `None`, is that of something idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its place, if some of it is ready to run.
    pub(crate) ready: Option<Turn>,
    /// When some of it that waits for company is to run at the latest.
    pub(crate) wakes: Option<Duration>,
    /// Some of it cannot be met by its deadline when it starts after this.
    pub(crate) doom: Option<Duration>,
}

/// Standings in order.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    standings: BTreeMap<K, Standing>,
    ready: BTreeSet<(Turn, K)>,
    wakes: BTreeSet<(Duration, K)>,
    dooms: BTreeSet<(Duration, K)>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            standings: BTreeMap::new(),
            ready: BTreeSet::new(),
            wakes: BTreeSet::new(),
            dooms: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Turns<K> {
    /// Replaces a standing; the default one takes the key out.
    pub(crate) fn set(&mut self, key: K, standing: Standing) {
        let old = self.standings.get(&key).copied().unwrap_or_default();
        if old == standing {
            return;
        }
        replace(&mut self.ready, old.ready, standing.ready, key);
        replace(&mut self.wakes, old.wakes, standing.wakes, key);
        replace(&mut self.dooms, old.doom, standing.doom, key);
        if standing == Standing::default() {
            self.standings.remove(&key);
        } else {
            self.standings.insert(key, standing);
        }
    }

    /// What is ready, first turn first.
    pub(crate) fn ready(&self) -> impl Iterator<Item = K> {
        self.ready.iter().map(|(_, key)| *key)
    }

    /// Something that has waited for company until `now` or longer.
    pub(crate) fn woken(&self, now: Duration) -> Option<K> {
        self.wakes.first().filter(|(time, _)| *time <= now).map(|(_, key)| *key)
    }

    /// What waits for company, and until when, first to wake first.
    pub(crate) fn waking(&self) -> impl Iterator<Item = (Duration, K)> {
        self.wakes.iter().copied()
    }

    /// What has something that cannot be met when it starts at `start`.
    pub(crate) fn doomed(&self, start: Duration) -> Vec<K> {
        self.dooms.iter().take_while(|(doom, _)| *doom < start).map(|(_, key)| *key).collect()
    }

    /// Everything that has something queued, in order of keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.standings.keys().copied()
    }

    /// Whether this has something queued.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.standings.contains_key(&key)
    }

    /// How many have something queued.
    pub(crate) fn len(&self) -> usize {
        self.standings.len()
    }

    /// The standing of all of it together.
    pub(crate) fn summary(&self) -> Standing {
        Standing {
            ready: self.ready.first().map(|(turn, _)| *turn),
            wakes: self.wakes.first().map(|(time, _)| *time),
            doom: self.dooms.first().map(|(time, _)| *time),
        }
    }
}

fn replace<V: Copy + Ord, K: Copy + Ord>(set: &mut BTreeSet<(V, K)>, old: Option<V>, new: Option<V>, key: K) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        set.remove(&(old, key));
    }
    if let Some(new) = new {
        set.insert((new, key));
    }
}

#[cfg(test)]
mod tests;
