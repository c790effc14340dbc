//! The queue of one model version: its buckets, what they cost, and how a batch of one of them is formed.
//!
//! Decides when a bucket is ready to run, what of it runs together (with `window`) and what is dropped instead. Knows
//! nothing of other queues and lanes: turns among queues, and when a lane is free, are `device`'s.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    BatchCost, Cancel, Cause, Costs, Dropped, QueueSettings, ShapeKey, Ticket,
    forecast::{Outlook, Starts},
    quote::Ask,
    turns::{Standing, Turns},
    window::{self, Bounds, Pick},
};

pub(crate) mod line;
pub(crate) mod rank;

use line::{Line, Patience};

/// Shortest time between two searches of a full queue for tickets that nobody waits for. Without it every refusal of an
/// overload would cost a walk over the whole queue (1,024 tickets: some 10 us); with it at most about 1 % of a core.
const SWEEP_INTERVAL: Duration = Duration::from_millis(1);

/// Most buckets that are kept while nothing waits in them, to remember how fast their requests arrive. Clients choose
/// shapes where a model names no buckets.
const IDLE_LINES: usize = 64;

/// A batch that was taken out of its queue.
#[derive(Debug)]
pub(crate) struct Formed<T> {
    pub(crate) tickets: Vec<Ticket<T>>,
    pub(crate) rows: u32,
    pub(crate) units: u32,
    pub(crate) shape: ShapeKey,
    /// How long it should take.
    pub(crate) expected: Duration,
}

/// The queue of one model version.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    pub(crate) settings: QueueSettings,
    pub(crate) costs: Costs,
    /// Batches of it that run.
    pub(crate) running: u32,
    /// Requests that were admitted.
    pub(crate) admitted: u64,
    /// What the turn order adds to arrivals.
    pub(crate) turn_offset: Duration,
    lines: BTreeMap<u64, Line<T>>,
    numbers: BTreeMap<ShapeKey, u64>,
    last_number: u64,
    turns: Turns<u64>,
    rows: u64,
    swept: Option<Duration>,
}

impl<T: Cancel> Queue<T> {
    pub(crate) fn new(settings: QueueSettings, turn_offset: Duration) -> Self {
        Self {
            costs: Costs::new(&settings.costs),
            settings,
            running: 0,
            admitted: 0,
            turn_offset,
            lines: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last_number: 0,
            turns: Turns::default(),
            rows: 0,
            swept: None,
        }
    }

    /// The bucket of that shape, if anything ever waited there and it is not forgotten.
    pub(crate) fn line(&self, shape: &ShapeKey) -> Option<&Line<T>> {
        self.lines.get(self.numbers.get(shape)?)
    }

    /// Shapes of the buckets in which something waits.
    pub(crate) fn waiting_shapes(&self) -> impl Iterator<Item = &ShapeKey> {
        self.turns.keys().filter_map(|number| self.lines.get(&number)).map(Line::shape)
    }

    /// How many buckets these are.
    pub(crate) fn waiting(&self) -> usize {
        self.turns.len()
    }

    /// Buckets that are kept, those in which nothing waits included.
    #[cfg(test)]
    pub(crate) fn known_lines(&self) -> usize {
        self.lines.len()
    }

    /// Rows that would go before this ticket in its bucket if it were appended now.
    pub(crate) fn rows_before(&self, now: Duration, ticket: &Ticket<T>) -> u64 {
        self.line(&ticket.shape).map_or(0, |line| line.rows_before(now, self.patience(), ticket))
    }

    /// Rows that wait in this bucket in classes up to this one.
    pub(crate) fn rows_with(&self, shape: &ShapeKey, class: u8) -> u64 {
        self.line(shape).map_or(0, |line| line.rows_with(class))
    }

    /// What such a request would see in its bucket.
    pub(crate) fn outlook(&self, now: Duration, shape: &ShapeKey, class: u8, ask: Ask) -> Outlook {
        let rate = |class| self.line(shape).map_or(0.0, |line| line.rate(now, class));
        let rows = f64::from(ask.rows.max(1));
        Outlook {
            cost: self.costs.of(shape),
            max_rows: f64::from(self.settings.max_batch_rows.max(1)),
            rows,
            units_per_row: f64::from(ask.units.max(1)) / rows,
            rate_above: class.checked_sub(1).map_or(0.0, rate),
            rate: rate(class),
        }
    }

    fn patience(&self) -> Patience {
        Patience { delay: self.settings.max_queue_delay, ageing: self.settings.ageing }
    }

    /// Rows that wait.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// How all its buckets stand together.
    pub(crate) fn standing(&self) -> Standing {
        self.turns.summary()
    }

    /// The bucket whose turn it is.
    pub(crate) fn first_ready(&self) -> Option<u64> {
        self.turns.ready().next()
    }

    /// Whether as many batches of it run as may.
    pub(crate) fn is_blocked(&self) -> bool {
        self.running >= self.settings.lanes.max(1)
    }

    /// Whether the next request should be tried whatever the costs say, for nothing would run that could correct them.
    pub(crate) fn must_try(&self, now: Duration) -> bool {
        self.running == 0 && self.costs.stale(now)
    }

    /// Everything that waits, oldest first.
    pub(crate) fn drain(self) -> Vec<Ticket<T>> {
        let mut tickets: Vec<_> = self.lines.into_values().flat_map(Line::drain).collect();
        tickets.sort_unstable_by_key(|(sequence, _)| *sequence);
        tickets.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// Whether so many rows fit. An empty queue takes any number.
    pub(crate) fn fits(&self, rows: u64) -> bool {
        self.rows == 0 || self.rows.saturating_add(rows) <= u64::from(self.settings.max_queued_rows)
    }

    /// Moves tickets that nobody waits for out of every bucket, unless that was done a moment ago.
    pub(crate) fn sweep(&mut self, now: Duration, dropped: &mut Vec<Dropped<T>>) {
        if self.swept.is_some_and(|last| now.saturating_sub(last) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        let numbers: Vec<_> = self.turns.keys().collect();
        for number in numbers {
            let Some(line) = self.lines.get(&number) else { continue };
            let gone = line.all_cancelled().into_iter().chain(line.hopeless(now, None)).collect();
            self.discard(now, number, gone, dropped);
        }
    }

    /// Counts rows that wanted to join a bucket, and names the bucket.
    pub(crate) fn arrive(&mut self, now: Duration, ticket: &Ticket<T>) -> u64 {
        let number = self.numbers.get(&ticket.shape).copied().unwrap_or_else(|| {
            self.last_number += 1;
            self.numbers.insert(ticket.shape.clone(), self.last_number);
            self.last_number
        });
        let line = self.lines.entry(number).or_insert_with(|| Line::new(ticket.shape.clone()));
        line.arrive(now, ticket.class, ticket.rows);
        number
    }

    /// Counts rows that wanted to join a bucket and are refused.
    pub(crate) fn turn_away(&mut self, now: Duration, ticket: &Ticket<T>) {
        let number = self.arrive(now, ticket);
        // Its bucket may be one that nothing ever waits in: it must not be kept for that.
        self.refresh(now, number);
    }

    /// Appends a ticket to the bucket of that number.
    pub(crate) fn push(&mut self, now: Duration, number: u64, sequence: u64, ticket: Ticket<T>) {
        let patience = self.patience();
        let Some(line) = self.lines.get_mut(&number) else { return };
        self.rows += u64::from(ticket.rows);
        line.push(now, sequence, patience, ticket);
        self.refresh(now, number);
    }

    /// Makes ready what has waited long enough for company.
    pub(crate) fn wake(&mut self, now: Duration) {
        while let Some(number) = self.turns.woken(now) {
            self.refresh(now, number);
        }
    }

    /// Takes a batch out of a bucket. `None` when there were tickets to drop first: then it may be another's turn.
    pub(crate) fn form(
        &mut self,
        now: Duration,
        number: u64,
        dropped: &mut Vec<Dropped<T>>,
    ) -> Option<Formed<T>> {
        let tried = self.must_try(now);
        let max_rows = self.settings.max_batch_rows.max(1);
        let line = self.lines.get_mut(&number)?;
        line.rise(now, self.settings.ageing);
        let cost = self.costs.of(line.shape());
        let mut gone = line.cancelled_heads();
        gone.extend(line.hopeless(now, (!tried).then_some(cost)));
        let mut pick = Pick::default();
        if gone.is_empty() {
            pick = window::choose(line.ranks(), &Bounds { now, cost, max_rows });
            let taken = pick.taken.iter().map(|(sequence, _)| *sequence);
            gone.extend(taken.filter(|sequence| line.cancelled(*sequence)));
        }
        if !gone.is_empty() {
            self.discard(now, number, gone, dropped);
            return None;
        }
        self.trim(now, number, cost, &mut pick);
        self.take(now, number, cost, &pick)
    }

    /// Drops what is certain not to be done by its deadline when nothing of the queue starts before `start`.
    pub(crate) fn drop_hopeless(&mut self, now: Duration, start: Duration, dropped: &mut Vec<Dropped<T>>) {
        let tried = self.must_try(now);
        for number in self.turns.doomed(start) {
            let Some(line) = self.lines.get(&number) else { continue };
            let cost = self.costs.of(line.shape());
            let gone = if tried { line.hopeless(now, None) } else { line.hopeless(start, Some(cost)) };
            self.discard(now, number, gone, dropped);
        }
    }

    /// Drops what the next batch of a bucket would leave out as well, as far as can be foreseen.
    pub(crate) fn drop_overtaken(
        &mut self,
        now: Duration,
        number: u64,
        starts: &Starts,
        dropped: &mut Vec<Dropped<T>>,
    ) {
        let Some(line) = self.lines.get(&number) else { return };
        let mut gone = Vec::new();
        let mut waiting = 0.0;
        for (class, rank) in line.ranks() {
            let rows = line.mean_rows();
            let units_per_row = (line.units() as f64 / line.rows() as f64).max(1.0);
            let ask = Ask::default();
            let outlook = Outlook { rows, units_per_row, ..self.outlook(now, line.shape(), *class, ask) };
            waiting += rank.rows() as f64;
            for (deadline, sequence, units) in rank.due_before(now.saturating_add(outlook.ample(starts))) {
                if outlook.overtaken(starts, waiting, deadline.saturating_sub(now)) {
                    gone.push(sequence);
                    waiting -= f64::from(units) / units_per_row;
                }
            }
        }
        self.discard(now, number, gone, dropped);
    }

    /// Cuts a choice to a preferred size or to one that is worth while, where all that it leaves out stay in time. While
    /// more waits than a batch can have, only the size counts that an operator prefers, and no deadline may be at stake:
    /// smaller batches mean less throughput.
    fn trim(&self, now: Duration, number: u64, cost: BatchCost, pick: &mut Pick) {
        let Some(line) = self.lines.get(&number) else { return };
        let (tightest, deep) = (pick.tightest(), line.rows() > u64::from(self.settings.max_batch_rows));
        if deep && tightest < Duration::MAX {
            return;
        }
        let useful = if deep { pick.rows } else { self.useful_rows(line.shape()).min(pick.rows) };
        let preferred = self.settings.preferred_batch_rows.iter().rfind(|rows| **rows <= useful);
        let size = preferred.copied().unwrap_or(useful);
        if size >= pick.rows {
            return;
        }
        let mut cut = pick.clone();
        cut.cut(size);
        let both = cost.of(cut.units).saturating_add(cost.of(pick.units.saturating_sub(cut.units)));
        if now.saturating_add(window::with_margin(both)) <= tightest {
            *pick = cut;
        }
    }

    /// Most rows that are worth while in a batch of this shape.
    fn useful_rows(&self, shape: &ShapeKey) -> u32 {
        let useful = self.settings.useful_rows.iter().find(|(bucket, _)| bucket == shape);
        let most = self.settings.max_batch_rows.max(1);
        useful.map_or(most, |(_, rows)| (*rows).clamp(1, most))
    }

    /// Rows at which a batch of this shape waits no longer for company.
    pub(crate) fn ready_rows(&self, shape: &ShapeKey) -> u32 {
        let useful = self.useful_rows(shape);
        self.settings.preferred_batch_rows.first().map_or(useful, |rows| useful.min(*rows)).max(1)
    }

    fn take(&mut self, now: Duration, number: u64, cost: BatchCost, pick: &Pick) -> Option<Formed<T>> {
        let line = self.lines.get_mut(&number)?;
        let shape = line.shape().clone();
        let tickets = line.take(pick.taken.iter().map(|(sequence, _)| *sequence));
        self.rows = self.rows.saturating_sub(u64::from(pick.rows));
        self.refresh(now, number);
        if tickets.is_empty() {
            return None;
        }
        self.running += 1;
        let expected = cost.of(pick.units);
        Some(Formed { tickets, rows: pick.rows, units: pick.units, shape, expected })
    }

    fn discard(&mut self, now: Duration, number: u64, gone: Vec<u64>, dropped: &mut Vec<Dropped<T>>) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        for ticket in gone.into_iter().filter_map(|sequence| line.remove(sequence)) {
            self.rows = self.rows.saturating_sub(u64::from(ticket.rows));
            dropped.push(Dropped { cause: ticket.dead(now).unwrap_or(Cause::Hopeless), ticket });
        }
        self.refresh(now, number);
    }

    /// Brings the standing of a bucket up to date.
    fn refresh(&mut self, now: Duration, number: u64) {
        let Some(line) = self.lines.get(&number) else { return };
        let standing = self.standing_of(now, line);
        let forget = line.is_empty() && self.lines.len() > IDLE_LINES;
        self.turns.set(number, standing);
        if forget && let Some(line) = self.lines.remove(&number) {
            self.numbers.remove(line.shape());
        }
    }

    fn standing_of(&self, now: Duration, line: &Line<T>) -> Standing {
        let Some((came, sequence)) = line.turn() else { return Standing::default() };
        let doom = line.doom(self.costs.of(line.shape()));
        let full = self.settings.max_queue_delay.is_zero()
            || line.rows() >= u64::from(self.ready_rows(line.shape()));
        let due = if full { None } else { line.due().filter(|due| *due > now) };
        let turn = (came.saturating_add(self.turn_offset), sequence);
        Standing { ready: due.is_none().then_some(turn), wakes: due, doom }
    }
}
