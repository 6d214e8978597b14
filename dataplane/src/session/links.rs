//! The ports under the names and numbers that programs know: those of the kernel's interfaces behind them.

use flumen_stack::PortId;

/// A port, as a program sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The port.
    pub port: PortId,
    /// The name of its interface, or of the port when there is none behind it.
    pub name: String,
    /// The kernel's number of the interface; for a port without one a number that no interface has.
    pub number: u32,
}

/// Numbers of ports that have no interface begin here: the kernel counts from 1 up.
pub const FIRST_NUMBER_WITHOUT_INTERFACE: u32 = 1 << 30;

/// All ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(pub Vec<Link>);

impl Links {
    /// The port whose interface has this name.
    pub fn by_name(&self, name: &[u8]) -> Option<PortId> {
        self.0.iter().find(|link| link.name.as_bytes() == name).map(|link| link.port)
    }

    /// The port whose interface has this number.
    pub fn by_number(&self, number: u32) -> Option<PortId> {
        self.0.iter().find(|link| link.number == number).map(|link| link.port)
    }

    /// A port's name and number.
    pub fn get(&self, port: PortId) -> Option<&Link> {
        self.0.iter().find(|link| link.port == port)
    }

    /// The number that programs know a port by; 0 for one that is not there.
    pub fn number(&self, port: PortId) -> u32 {
        self.get(port).map_or(0, |link| link.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_what_programs_call_them() {
        let link = |index, name: &str, number| Link {
            port: PortId::new(index).unwrap_or(PortId::FIRST),
            name: name.to_owned(),
            number,
        };
        let links = Links(vec![link(0, "eth0", 2), link(1, "tap", FIRST_NUMBER_WITHOUT_INTERFACE + 1)]);
        assert_eq!(links.by_name(b"tap"), PortId::new(1));
        assert_eq!(links.by_number(2), PortId::new(0));
        assert_eq!((links.by_name(b"eth1"), links.by_number(3)), (None, None));
        assert_eq!(links.number(PortId::FIRST), 2);
    }
}
