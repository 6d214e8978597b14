//! NAPI deferral: the kernel takes packets in larger bursts, a little later.
//!
//! With `napi_defer_hard_irqs` and `gro_flush_timeout` (nanoseconds) an interface's NAPI runs from a timer instead of
//! at every interrupt. Bursts grow from two or three packets to tens, at the price of up to the timeout in latency.
//! Both are per interface and outlive us, so what they were is recorded, and put back on drop.

use super::NicError;
use std::fs;
use std::path::PathBuf;

/// The two settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often NAPI polls on, finding nothing, before interrupts are enabled again.
    pub defer_hard_irqs: u32,
    /// Nanoseconds until the timer runs NAPI.
    pub gro_flush_timeout: u64,
}

/// Settings that were changed, until it is dropped.
#[derive(Debug)]
pub struct NapiDeferral {
    interface: String,
    previous: Settings,
}

impl NapiDeferral {
    /// Changes the settings of `interface`.
    ///
    /// # Errors
    /// When there is no such interface, or without CAP_NET_ADMIN. Then nothing is changed.
    pub fn apply(interface: &str, settings: Settings) -> Result<NapiDeferral, NicError> {
        let previous = read(interface)?;
        let applied = NapiDeferral { interface: interface.to_owned(), previous };
        write(interface, settings)?; // when the second of the two fails, the drop of `applied` undoes the first
        Ok(applied)
    }

    /// What the settings were: for the record by which they are restored after a crash ([`restore`]).
    pub fn previous(&self) -> Settings {
        self.previous
    }

    /// The interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

impl Drop for NapiDeferral {
    fn drop(&mut self) {
        // The interface may be gone, and its settings with it.
        let _ = write(&self.interface, self.previous);
    }
}

/// Sets what a record says, after a crash.
///
/// # Errors
/// As [`NapiDeferral::apply`].
pub fn restore(interface: &str, previous: Settings) -> Result<(), NicError> {
    write(interface, previous)
}

/// The settings as they are.
///
/// # Errors
/// When there is no such interface.
pub fn read(interface: &str) -> Result<Settings, NicError> {
    Ok(Settings {
        defer_hard_irqs: read_number(interface, "napi_defer_hard_irqs")?,
        gro_flush_timeout: read_number(interface, "gro_flush_timeout")?,
    })
}

fn write(interface: &str, settings: Settings) -> Result<(), NicError> {
    write_number(interface, "napi_defer_hard_irqs", settings.defer_hard_irqs.into())?;
    write_number(interface, "gro_flush_timeout", settings.gro_flush_timeout)
}

fn path(interface: &str, file: &str) -> Result<PathBuf, NicError> {
    super::checked_name(interface)?;
    Ok(["/sys/class/net", interface, file].iter().collect())
}

fn read_number<T: std::str::FromStr>(interface: &str, file: &str) -> Result<T, NicError> {
    let text = fs::read_to_string(path(interface, file)?).map_err(|source| NicError::System {
        doing: "read the NAPI settings",
        interface: interface.to_owned(),
        source,
    })?;
    text.trim().parse().map_err(|_| NicError::System {
        doing: "understand the NAPI settings",
        interface: interface.to_owned(),
        source: std::io::Error::from(std::io::ErrorKind::InvalidData),
    })
}

fn write_number(interface: &str, file: &str, value: u64) -> Result<(), NicError> {
    fs::write(path(interface, file)?, value.to_string()).map_err(|source| NicError::System {
        doing: "change the NAPI settings",
        interface: interface.to_owned(),
        source,
    })
}
