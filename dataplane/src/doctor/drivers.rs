//! What is known of drivers: whether AF_XDP can be expected to run in zero-copy mode, and whether the driver runs
//! XDP programs at all. Only what the kernel's sources say; of every other driver the answer is "unknown".

/// What to expect of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Zero-copy since this kernel.
    ZeroCopy(u32, u32),
    /// It runs XDP programs itself, and the kernel copies.
    Native,
    /// Nobody here knows.
    Unknown,
}

/// What to expect of the driver with this name, as ethtool has it.
pub fn expectation(driver: &str) -> Expectation {
    match driver {
        "i40e" | "ixgbe" => Expectation::ZeroCopy(4, 20),
        "mlx5_core" => Expectation::ZeroCopy(5, 3),
        "ice" => Expectation::ZeroCopy(5, 5),
        "igc" => Expectation::ZeroCopy(5, 14),
        "nfp" => Expectation::ZeroCopy(5, 18),
        "virtio_net" => Expectation::ZeroCopy(6, 11),
        "igb" => Expectation::ZeroCopy(6, 14),
        "veth" | "tun" | "ena" | "hv_netvsc" | "bnxt_en" | "mlx4_en" | "mvneta" | "vmxnet3" => {
            Expectation::Native
        }
        _ => Expectation::Unknown,
    }
}

/// True for drivers whose peer may be a kernel on this very machine, which leaves transport checksums to a card
/// that does not exist.
pub fn has_local_peer(driver: Option<&str>) -> bool {
    matches!(driver, Some("veth" | "virtio_net" | "tun" | "tap"))
}
