//! Congestion control (RFC 5681): how much may be in flight.

/// The algorithms that a socket may choose (TCP_CONGESTION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582; `reno` on Linux.
    NewReno,
    /// RFC 9438 with RFC 9406.
    #[default]
    Cubic,
    /// Bottleneck bandwidth and round trip time, version 1.
    Bbr,
}

impl Algorithm {
    /// The name by which Linux knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::NewReno => "reno",
            Algorithm::Cubic => "cubic",
            Algorithm::Bbr => "bbr",
        }
    }

    /// The algorithm of a name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr].into_iter().find(|a| a.name() == name)
    }
}
