//! Who is answered: prefixes of addresses, the longest that holds an address counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Error;

/// The most prefixes of one server.
const RULES_MAX: usize = 1024;

/// Every address as one of IPv6, an IPv4 address as mapped: what a socket of both families shows.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The addresses of IPv4 among those.
const IPV4: std::ops::RangeInclusive<u128> = 0xFFFF_0000_0000..=0xFFFF_FFFF_FFFF;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    first: u128,
    last: u128,
}

impl Prefix {
    /// `address/length`, or an address alone.
    fn parse(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "does not begin with an address".to_owned())?;
        let bits = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let length = match length {
            Some(length) => length.parse().ok().filter(|length| *length <= bits && !text.contains('+')),
            None => Some(bits),
        };
        let length = length.ok_or_else(|| format!("does not end with a length of 0 to {bits}"))?;
        let free = bits - length;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        let first = number(address);
        // All of a prefix of IPv4 is mapped: the 96 bits in front stay.
        if first & !mask & (u128::MAX >> (Ipv6Addr::BITS - bits)) != 0 {
            return Err("has bits set behind its length".to_owned());
        }
        Ok(Self { first, last: first | !mask })
    }

    /// Those of IPv4 are not IPv6's, though they are mapped into it: `::/0` says nothing of them.
    fn holds(&self, number: u128) -> bool {
        let is_ipv4 = IPV4.contains(&self.first) && IPV4.contains(&self.last);
        (self.first..=self.last).contains(&number) && is_ipv4 == IPV4.contains(&number)
    }
}

/// What was said about prefixes.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Vec<(Prefix, bool)>);

impl Rules {
    pub(super) fn add(&mut self, text: &str, allowed: bool) -> Result<(), Error> {
        let shown: String = text.chars().take(100).collect();
        let wrong = |why: String| Error::argument("prefix", format!("is `{shown}`, which {why}"));
        let prefix = Prefix::parse(text.trim()).map_err(wrong)?;
        if self.0.iter().any(|(other, verdict)| *other == prefix && *verdict != allowed) {
            return Err(wrong("is both allowed and denied".to_owned()));
        }
        if self.0.len() == RULES_MAX {
            return Err(Error::argument("prefix", format!("is one more than the {RULES_MAX} that are possible")));
        }
        self.0.push((prefix, allowed));
        Ok(())
    }

    /// The same as a list of ranges, in which an address is found in a few steps however many rules there are.
    pub(super) fn compile(&self) -> Access {
        // Whoever allows something means that the rest is not.
        let otherwise = !self.0.iter().any(|(_, allowed)| *allowed);
        let verdict = |number: u128| {
            let holding = self.0.iter().filter(|(prefix, _)| prefix.holds(number));
            holding.min_by_key(|(prefix, _)| prefix.last - prefix.first).map_or(otherwise, |(_, allowed)| *allowed)
        };
        let ends = self.0.iter().flat_map(|(prefix, _)| [Some(prefix.first), prefix.last.checked_add(1)]).flatten();
        let mut begins: Vec<u128> = ends.chain([0, *IPV4.start(), *IPV4.end() + 1]).collect();
        begins.sort_unstable();
        begins.dedup();
        let mut ranges: Vec<(u128, bool)> = begins.into_iter().map(|begin| (begin, verdict(begin))).collect();
        ranges.dedup_by_key(|(_, allowed)| *allowed);
        Access(ranges)
    }
}

/// Ranges of addresses, each from its beginning to the next one's; the first begins at 0. Neighbours differ.
#[derive(Debug)]
pub(super) struct Access(Vec<(u128, bool)>);

impl Access {
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let [(_, only)] = self.0.as_slice() else {
            let number = number(address);
            let after = self.0.partition_point(|(begin, _)| *begin <= number);
            return self.0.get(after.wrapping_sub(1)).is_some_and(|(_, allowed)| *allowed);
        };
        *only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(rules: &[(&str, bool)]) -> Access {
        let mut list = Rules::default();
        rules.iter().for_each(|(prefix, allowed)| list.add(prefix, *allowed).unwrap());
        list.compile()
    }

    fn allowed(access: &Access, address: &str) -> bool {
        access.allows(address.parse().unwrap())
    }

    #[test]
    fn without_rules_everybody_is_answered() {
        let all = access(&[]);
        assert!(allowed(&all, "192.0.2.1") && allowed(&all, "2001:db8::1") && allowed(&all, "::"));
    }

    #[test]
    fn who_allows_something_denies_the_rest_and_who_only_denies_does_not() {
        let some = access(&[("192.0.2.0/24", true), ("2001:db8::/32", true)]);
        for (address, expected) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("192.0.1.255", false),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
            // As a socket of both families shows it.
            ("::ffff:192.0.2.7", true),
            ("::ffff:192.0.3.7", false),
        ] {
            assert_eq!(allowed(&some, address), expected, "{address}");
        }
        let most = access(&[("192.0.2.0/24", false)]);
        assert!(!allowed(&most, "192.0.2.1") && allowed(&most, "192.0.3.1") && allowed(&most, "::1"));
    }

    #[test]
    fn the_longest_prefix_counts_whatever_the_order() {
        let rules = [("10.0.0.0/8", true), ("10.1.0.0/16", false), ("10.1.2.0/24", true), ("10.1.2.3", false)];
        let mut turned = rules;
        turned.reverse();
        for access in [access(&rules), access(&turned)] {
            for (address, expected) in
                [("10.0.0.1", true), ("10.1.0.1", false), ("10.1.2.4", true), ("10.1.2.3", false), ("10.1.3.0", false)]
            {
                assert_eq!(allowed(&access, address), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_whole_family_is_a_prefix_too() {
        let four = access(&[("0.0.0.0/0", true)]);
        assert!(allowed(&four, "255.255.255.255") && !allowed(&four, "2001:db8::1"));
        let six = access(&[("::/0", false), ("0.0.0.0/0", true)]);
        assert!(allowed(&six, "0.0.0.0") && !allowed(&six, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn prefixes_of_ipv6_say_nothing_of_ipv4_whichever_socket_it_comes_by() {
        for wide in ["::/0", "::/80", "::fffe:0:0/95"] {
            let denied = access(&[(wide, false)]);
            let only = access(&[(wide, true)]);
            for ipv4 in ["192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", "255.255.255.255"] {
                assert!(allowed(&denied, ipv4) && !allowed(&only, ipv4), "{wide} {ipv4}");
            }
            for ipv6 in ["::fffe:0:1", "::fffe:ffff:ffff"] {
                assert!(!allowed(&denied, ipv6) && allowed(&only, ipv6), "{wide} {ipv6}");
            }
        }
        assert!(!allowed(&access(&[("::/0", false)]), "::1:0:0:0"));
        // One that is written as mapped is IPv4's.
        let mapped = access(&[("::ffff:10.0.0.0/104", false), ("::/0", true), ("0.0.0.0/0", true)]);
        assert!(!allowed(&mapped, "10.1.2.3") && !allowed(&mapped, "::ffff:10.1.2.3") && allowed(&mapped, "11.0.0.0"));
    }

    #[test]
    fn what_is_no_prefix_is_refused_and_named() {
        let mut rules = Rules::default();
        for wrong in [
            "",
            "/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::1/64",
            "::/129",
            "x/3",
        ] {
            let error = rules.add(wrong, true).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
        rules.add("10.0.0.0/8", true).unwrap();
        assert!(rules.add("10.0.0.0/8", false).is_err());
        for number in 1..RULES_MAX {
            rules.add(&Ipv4Addr::from(number as u32).to_string(), true).unwrap();
        }
        assert!(rules.add("11.0.0.0/8", true).is_err());
    }
}
