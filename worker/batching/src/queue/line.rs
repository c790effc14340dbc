//! The tickets of one bucket of one queue: all that can share a batch.
//!
//! Keeps them by arrival and, by class, in the order in which they should run; raises those that waited long. Decides
//! neither who gets in nor when a batch runs: that is `queue`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::rank::{Rank, Weight};
use crate::{Arrivals, BatchCost, Cancel, ShapeKey, Ticket, turns::Turn};

/// A ticket with its place in the queue.
#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket<T>,
    arrived: Duration,
    /// When it stops waiting for company.
    due: Duration,
    /// What orders it among its class: its deadline, or the time from which it goes before all that come later.
    order: Duration,
    /// Its class now, and when it rises from that.
    class: u8,
    rises: Duration,
}

impl<T> Entry<T> {
    fn weight(&self) -> Weight {
        let Ticket { rows, units, deadline, .. } = self.ticket;
        Weight { rows, units: units.max(1), deadline: deadline.unwrap_or(Duration::MAX) }
    }
}

/// How long tickets wait, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Longest wait for company.
    pub(crate) delay: Duration,
    /// Waiting this long raises a ticket by one class.
    pub(crate) ageing: Duration,
}

/// Tickets of one bucket.
#[derive(Debug)]
pub(crate) struct Line<T> {
    shape: ShapeKey,
    entries: BTreeMap<u64, Entry<T>>,
    ranks: BTreeMap<u8, Rank>,
    /// When the tickets of lower classes rise.
    rises: BTreeSet<(Duration, u64)>,
    rows: u64,
    units: u64,
    /// When the tickets of its last batch came, on average.
    ran: Duration,
    /// How fast rows arrive, by class.
    arrivals: BTreeMap<u8, Arrivals>,
}

impl<T: Cancel> Line<T> {
    pub(crate) fn new(shape: ShapeKey) -> Self {
        Self {
            shape,
            entries: BTreeMap::new(),
            ranks: BTreeMap::new(),
            rises: BTreeSet::new(),
            rows: 0,
            units: 0,
            ran: Duration::ZERO,
            arrivals: BTreeMap::new(),
        }
    }

    pub(crate) fn shape(&self) -> &ShapeKey {
        &self.shape
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    pub(crate) fn ranks(&self) -> &BTreeMap<u8, Rank> {
        &self.ranks
    }

    /// When its oldest ticket came, and that ticket's sequence.
    pub(crate) fn oldest(&self) -> Option<Turn> {
        self.entries.first_key_value().map(|(sequence, entry)| (entry.arrived, *sequence))
    }

    /// Its place among others that wait for a lane: when its oldest ticket came, or those of its last batch if they came
    /// later. Else one of low priority that batch after batch leaves behind would win all turns for those that overtake it.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.oldest().map(|(arrived, sequence)| (arrived.max(self.ran), sequence))
    }

    /// Earliest time at which some ticket stops waiting for company. Not always the oldest's: a later one may be in
    /// more haste.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.entries.values().map(|entry| entry.due).min()
    }

    /// No ticket is hopeless that starts before this; `None` when none ever is.
    pub(crate) fn doom(&self, cost: BatchCost) -> Option<Duration> {
        let doom = |rank: &Rank| Some(rank.tightest()?.saturating_sub(cost.of(rank.lightest())));
        self.ranks.values().filter_map(doom).min()
    }

    /// Counts rows that wanted to join.
    pub(crate) fn arrive(&mut self, now: Duration, class: u8, rows: u32) {
        self.arrivals.entry(class).or_default().record(now, rows);
    }

    /// Rows per second that arrive of classes up to this one.
    pub(crate) fn rate(&self, now: Duration, class: u8) -> f64 {
        self.arrivals.range(..=class).map(|(_, arrivals)| arrivals.per_second(now)).sum()
    }

    /// Rows that wait in classes up to this one.
    pub(crate) fn rows_with(&self, class: u8) -> u64 {
        self.ranks.range(..=class).map(|(_, rank)| rank.rows()).sum()
    }

    /// Rows of a ticket, on average; 1 when none waits.
    pub(crate) fn mean_rows(&self) -> f64 {
        if self.entries.is_empty() { 1.0 } else { self.rows as f64 / self.entries.len() as f64 }
    }

    /// Appends a ticket. It waits for company at most half of the time that its requester gave.
    pub(crate) fn push(&mut self, now: Duration, sequence: u64, patience: Patience, ticket: Ticket<T>) {
        let slack = ticket.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(now) / 2);
        let class = ticket.class;
        let entry = Entry {
            arrived: now,
            due: now.saturating_add(patience.delay.min(slack)),
            order: Self::order_of(now, patience, &ticket),
            class,
            rises: now.saturating_add(patience.ageing),
            ticket,
        };
        if class > 0 {
            self.rises.insert((entry.rises, sequence));
        }
        self.rows += u64::from(entry.ticket.rows);
        self.units += u64::from(entry.weight().units);
        self.ranks.entry(class).or_default().insert((entry.order, sequence), entry.weight());
        self.entries.insert(sequence, entry);
    }

    /// What orders a ticket among its class: its deadline, but at most one `ageing` for each class that it has to rise
    /// and one more. From then on it goes before whatever comes later, so nobody starves.
    fn order_of(now: Duration, patience: Patience, ticket: &Ticket<T>) -> Duration {
        let classes = u32::from(ticket.class).saturating_add(1);
        let first = now.saturating_add(patience.ageing.saturating_mul(classes));
        ticket.deadline.map_or(first, |deadline| deadline.min(first))
    }

    /// Rows that would go before this ticket if it were appended now.
    pub(crate) fn rows_before(&self, now: Duration, patience: Patience, ticket: &Ticket<T>) -> u64 {
        let order = Self::order_of(now, patience, ticket);
        let rows = self
            .ranks
            .range(..=ticket.class)
            .map(|(class, rank)| if *class < ticket.class { rank.rows() } else { rank.rows_until(order) });
        rows.sum()
    }

    /// Takes a ticket out.
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Ticket<T>> {
        let entry = self.entries.remove(&sequence)?;
        self.unrank(sequence, &entry);
        self.rows -= u64::from(entry.ticket.rows);
        self.units -= u64::from(entry.weight().units);
        Some(entry.ticket)
    }

    /// Takes a batch out.
    pub(crate) fn take(&mut self, sequences: impl Iterator<Item = u64>) -> Vec<Ticket<T>> {
        let (mut tickets, mut arrived, mut count) = (Vec::new(), Duration::ZERO, 0_u32);
        for sequence in sequences {
            let came = self.entries.get(&sequence).map_or(Duration::ZERO, |entry| entry.arrived);
            let Some(ticket) = self.remove(sequence) else { continue };
            (arrived, count) = (arrived.saturating_add(came), count.saturating_add(1));
            tickets.push(ticket);
        }
        self.ran = arrived / count.max(1);
        tickets
    }

    /// Takes out everything, oldest first.
    pub(crate) fn drain(self) -> impl Iterator<Item = (u64, Ticket<T>)> {
        self.entries.into_iter().map(|(sequence, entry)| (sequence, entry.ticket))
    }

    /// Raises the tickets whose time has come.
    pub(crate) fn rise(&mut self, now: Duration, ageing: Duration) {
        while let Some(&(when, sequence)) = self.rises.first()
            && when <= now
        {
            self.rises.remove(&(when, sequence));
            let Some(mut entry) = self.entries.remove(&sequence) else { continue };
            self.unrank(sequence, &entry);
            entry.class = entry.class.saturating_sub(1);
            entry.rises = when.saturating_add(ageing);
            if entry.class > 0 {
                self.rises.insert((entry.rises, sequence));
            }
            self.ranks.entry(entry.class).or_default().insert((entry.order, sequence), entry.weight());
            self.entries.insert(sequence, entry);
        }
    }

    /// Whether anybody waits for this ticket.
    pub(crate) fn cancelled(&self, sequence: u64) -> bool {
        self.entries.get(&sequence).is_some_and(|entry| entry.ticket.payload.cancelled())
    }

    /// The oldest tickets that nobody waits for, up to the first that somebody does.
    pub(crate) fn cancelled_heads(&self) -> Vec<u64> {
        let heads = self.entries.iter().take_while(|(_, entry)| entry.ticket.payload.cancelled());
        heads.map(|(sequence, _)| *sequence).collect()
    }

    /// All tickets that nobody waits for. Walks over every ticket.
    pub(crate) fn all_cancelled(&self) -> Vec<u64> {
        let gone = self.entries.iter().filter(|(_, entry)| entry.ticket.payload.cancelled());
        gone.map(|(sequence, _)| *sequence).collect()
    }

    /// The tickets that would not be done by their deadline if they ran alone from `start` on, at this cost. Without
    /// one: those whose deadline is not after `start`.
    pub(crate) fn hopeless(&self, start: Duration, cost: Option<BatchCost>) -> Vec<u64> {
        let needs = |units| cost.map_or(Duration::ZERO, |cost| cost.of(units));
        let mut found = Vec::new();
        for rank in self.ranks.values() {
            // Strictly below, plus the smallest step: a deadline at `start` itself is over.
            let end = start.saturating_add(needs(rank.heaviest())).saturating_add(Duration::from_nanos(1));
            let late = rank.due_before(end);
            let late = late.filter(|(deadline, _, units)| {
                *deadline <= start || *deadline < start.saturating_add(needs(*units))
            });
            found.extend(late.map(|(_, sequence, _)| sequence));
        }
        found
    }

    fn unrank(&mut self, sequence: u64, entry: &Entry<T>) {
        self.rises.remove(&(entry.rises, sequence));
        let Some(rank) = self.ranks.get_mut(&entry.class) else { return };
        rank.remove((entry.order, sequence));
        if rank.is_empty() {
            self.ranks.remove(&entry.class);
        }
    }
}

#[cfg(test)]
mod tests;
