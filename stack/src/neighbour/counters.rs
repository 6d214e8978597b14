//! What the table counts. Plain numbers of one worker; housekeeping publishes them.

/// Events since the table was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NeighbourCounters {
    /// Solicitations handed out to a group.
    pub solicits_group: u64,
    /// Solicitations handed out to one station: probes.
    pub solicits_station: u64,
    /// Solicitations to a group that the rate limit held back.
    pub solicits_rate_limited: u64,
    /// Solicitations that found the queue to the caller full.
    pub solicits_lost: u64,
    /// Entries made, by traffic, packets heard, or configuration.
    pub created: u64,
    /// Facts that changed something.
    pub learned: u64,
    /// Facts that taught nothing: unknown neighbour, or forbidden by the rules.
    pub ignored: u64,
    /// Known neighbours whose Ethernet address changed.
    pub mac_changed: u64,
    /// Neighbours that answered while packets might wait.
    pub resolved: u64,
    /// Neighbours that did not answer in time, in INCOMPLETE or PROBE.
    pub failed: u64,
    /// Entries that gave way to others because the table was full.
    pub evicted: u64,
    /// Entries that went because nobody used them.
    pub expired: u64,
    /// Entries that were refused because the table was full of others in use.
    pub table_full: u64,
    /// Packets that were queued.
    pub queued: u64,
    /// Queued packets that gave way to newer ones.
    pub gave_way: u64,
    /// Queued packets that were released.
    pub released: u64,
    /// Queued packets whose neighbour did not answer.
    pub unreachable: u64,
    /// Queued packets that were dropped because their neighbour was taken away: port down, static removed.
    pub flushed: u64,
    /// Facts that found the queue to the caller full.
    pub facts_lost: u64,
}
