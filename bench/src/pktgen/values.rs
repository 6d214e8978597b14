//! How people write the values of a field, the same in a scenario file and on the command line:
//!
//! ```text
//!   10.0.0.1                   one value
//!   10.0.0.1..10.0.0.99        each in turn, and again          10.0.0.0/24: all of a prefix
//!   10.0.0.1..10.0.0.99/2      every second
//!   random 10.0.0.0/16         any                              random 1024..65535
//!   10.0.0.1,10.0.0.7          these in turn
//! ```
//! Each kind of field is a type whose text is read by `FromStr`; what is wrong is one sentence, to which the file adds
//! its line and the command line the name of the option.

use super::generator::Generator;
use super::limits::MAX_LIST;
use core::str::FromStr;
use flumen_stack::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;

/// Reads an expression whose single values `one` reads, and whose prefixes `prefix` (first and last).
fn expression(
    text: &str,
    one: &dyn Fn(&str) -> Result<u128, String>,
    prefix: &dyn Fn(&str) -> Option<(u128, u128)>,
) -> Result<Generator, String> {
    let text = text.trim();
    let (chance, rest) = match text.strip_prefix("random ") {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    if rest.contains(',') {
        let values = rest.split(',').map(|value| one(value.trim())).collect::<Result<Vec<_>, _>>()?;
        if values.len() > MAX_LIST {
            return Err(format!("a list has at most {MAX_LIST} values, not {}", values.len()));
        }
        if chance {
            return Err(format!("`{text}`: chance takes a range, a list goes in turn"));
        }
        return Ok(Generator::List { values, next: 0 });
    }
    let (first, last, step) = match rest.split_once("..") {
        Some((first, last)) => {
            let (last, step) = match last.split_once('/') {
                Some((last, step)) => {
                    let step = step.trim().parse().ok().filter(|step| *step > 0);
                    (last, step.ok_or_else(|| format!("the step of `{text}` is a number from 1"))?)
                }
                None => (last, 1),
            };
            (one(first.trim())?, one(last.trim())?, step)
        }
        None => match prefix(rest) {
            Some((first, last)) => (first, last, 1),
            None if chance => return Err(format!("`{text}`: chance takes a range, as in `random 1..9`")),
            None => return Ok(Generator::Fixed(one(rest)?)),
        },
    };
    if first > last {
        return Err(format!("`{text}` begins behind its end"));
    }
    if chance && step != 1 {
        return Err(format!("`{text}`: chance knows no steps"));
    }
    Ok(if chance {
        Generator::Random { first, last }
    } else {
        Generator::Steps { first, last, step, next: first }
    })
}

/// Whole numbers up to `MAX`, decimal or 0x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number<const MAX: u32>(pub Generator);

/// A port of TCP or UDP.
pub type Ports = Number<65535>;
/// A TTL, a TOS byte, an IP protocol.
pub type Bytes = Number<255>;
/// A VLAN.
pub type Vlans = Number<4094>;

impl<const MAX: u32> FromStr for Number<MAX> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let number = match text.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            };
            let number = number.ok_or_else(|| format!("`{text}` is not a number from 0 to {MAX}"))?;
            if number > MAX { Err(format!("{number} is more than {MAX}")) } else { Ok(u128::from(number)) }
        };
        expression(text, &one, &|_| None).map(Number)
    }
}

/// Ethernet addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Macs(pub Generator);

impl FromStr for Macs {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let mac: MacAddr = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
            Ok(mac_number(mac))
        };
        expression(text, &one, &|_| None).map(Macs)
    }
}

/// An Ethernet address as a number.
pub fn mac_number(mac: MacAddr) -> u128 {
    mac.0.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
}

/// IP addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The numbers.
    pub generator: Generator,
    /// They are IPv6's.
    pub v6: bool,
}

impl FromStr for Addresses {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let v6 = text.contains(':');
        let family = if v6 { "IPv6" } else { "IPv4" };
        let one = |text: &str| {
            let address: IpAddr = text.parse().map_err(|_| format!("`{text}` is not an {family} address"))?;
            if address.is_ipv6() == v6 {
                Ok(address_number(address))
            } else {
                Err(format!("`{text}` is not an {family} address, like those beside it"))
            }
        };
        let prefix = |text: &str| {
            let net: IpNet = text.parse().ok()?;
            Some((address_number(net.network()), address_number(net.broadcast())))
        };
        let generator = expression(text, &one, &prefix)?;
        Ok(Addresses { generator, v6 })
    }
}

impl Addresses {
    /// The only address, where there is only one.
    pub fn fixed(&self) -> Option<IpAddr> {
        self.generator.fixed().map(|number| self.address(number))
    }

    /// A number of this generator as an address.
    pub fn address(&self, number: u128) -> IpAddr {
        if self.v6 { IpAddr::V6(number.into()) } else { IpAddr::V4((number as u32).into()) }
    }
}

/// An address as a number.
pub fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn first(generator: &Generator, count: usize) -> Vec<u128> {
        let (mut generator, mut random) = (generator.clone(), Random::new(1));
        (0..count).map(|_| generator.draw(&mut random)).collect()
    }

    #[test]
    fn every_way_to_write_a_value_is_read() {
        let ports = |text: &str| first(&text.parse::<Ports>().unwrap().0, 4);
        assert_eq!(ports("9"), [9, 9, 9, 9]);
        assert_eq!(ports("0x10"), [16; 4]);
        assert_eq!(ports("7..8"), [7, 8, 7, 8]);
        assert_eq!(ports("10..30/10"), [10, 20, 30, 10]);
        assert_eq!(ports("5, 3"), [5, 3, 5, 3]);
        assert_eq!("random 7..8".parse(), Ok(Number::<65535>(Generator::Random { first: 7, last: 8 })));
        let nets: Addresses = "10.0.0.254/31".parse().unwrap();
        let drawn: Vec<IpAddr> = first(&nets.generator, 3).iter().map(|one| nets.address(*one)).collect();
        assert_eq!(
            drawn,
            ["10.0.0.254", "10.0.0.255", "10.0.0.254"].map(|text| text.parse::<IpAddr>().unwrap())
        );
        let v6: Addresses = "fd00::1..fd00::2".parse().unwrap();
        assert!(v6.v6 && v6.fixed().is_none() && "fd00::7".parse::<Addresses>().unwrap().fixed().is_some());
        let mac: Macs = "02:00:00:00:00:ff..02:00:00:00:01:00".parse().unwrap();
        assert_eq!(first(&mac.0, 2), [0x0200_0000_00ff, 0x0200_0000_0100]);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        let ports = |text: &str| text.parse::<Ports>().unwrap_err();
        assert_eq!(ports("70000"), "70000 is more than 65535");
        assert_eq!(ports("http"), "`http` is not a number from 0 to 65535");
        assert_eq!(ports("9..8"), "`9..8` begins behind its end");
        assert_eq!(ports("1..9/0"), "the step of `1..9/0` is a number from 1");
        assert!(ports("random 7").contains("chance takes a range"));
        assert!(ports("random 1,2").contains("a list goes in turn"));
        assert!(ports("random 1..9/2").contains("no steps"));
        assert_eq!("4095".parse::<Vlans>().unwrap_err(), "4095 is more than 4094");
        let mixed = "10.0.0.1,fd00::1".parse::<Addresses>().unwrap_err();
        assert!(mixed.contains("not an IPv6 address"), "{mixed}");
        assert!("2:0".parse::<Macs>().unwrap_err().contains("six hexadecimal octets"));
    }

    #[test]
    fn a_list_may_be_as_long_as_its_limit_and_no_longer() {
        let list = |count: usize| vec!["1"; count].join(",").parse::<Ports>();
        assert!(list(MAX_LIST).is_ok());
        assert!(list(MAX_LIST + 1).unwrap_err().contains("at most 4096"));
    }
}
