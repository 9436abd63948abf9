//! Which machine this is, which run of it, and who we are: what a file of ours is compared with.

use std::fs;
use std::path::Path;

use md5::{Digest, Md5};

use super::counter;
use super::vmclock::{self, VmClock};
use crate::units::{Counter, Nanos, UnixTime};

/// Tells one thing from another of its kind, and nothing else about it.
pub(crate) type Identity = [u8; 16];

/// Bytes of an origin that tell the boot.
pub(crate) const BOOT: usize = 8;

/// The machine at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) counter: Counter,
    /// The system clock's UTC at `counter`.
    pub(crate) system: UnixTime,
    /// Time spent suspended since boot, which the counter does not count; in a state file, as of the newest exchange.
    pub(crate) suspended: Nanos,
    /// The boot, and the time namespace, that the counter's origin belongs to; `None` if the kernel does not say.
    pub(crate) origin: Option<Identity>,
    /// `None` if the installation has none.
    pub(crate) machine: Option<Identity>,
}

impl Host {
    /// As of now.
    pub(crate) fn observe() -> Self {
        let bracket = counter::Bracket::read();
        let (counter, _) = bracket.midpoint();
        let suspended = counter::suspended();
        Self {
            counter,
            system: bracket.system,
            suspended,
            origin: marked_origin(Path::new(vmclock::DEVICE)),
            machine: machine(),
        }
    }
}

/// Whoever the kernel judges our access to files by.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, touches nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// The boot (its first half), and the time namespace (the second), that the counter's origin belongs to; `None` if the
/// kernel does not say.
pub(crate) fn origin() -> Option<Identity> {
    origin_and(&[])
}

/// The same, and what the hypervisor marks: behind the kernel's back a machine goes on elsewhere, or at an earlier
/// time, by the same boot. For what nobody watches over meanwhile.
fn marked_origin(device: &Path) -> Option<Identity> {
    let marks = VmClock::open(device).ok().flatten().and_then(|mut device| device.marks().ok());
    let marks = marks.map(|marks| format!("{marks:?}"));
    origin_and(&marks.as_deref().into_iter().collect::<Vec<_>>())
}

fn origin_and(more: &[&str]) -> Option<Identity> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // Containers may count from origins of their own within one boot. Kernels without time namespaces have but one.
    let namespace = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let shift = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let boot = identity(&[&[boot.trim()], more].concat());
    let namespace = identity(&[&namespace.to_string_lossy(), &shift]);
    let mut origin = namespace;
    origin.iter_mut().zip(boot).take(BOOT).for_each(|(byte, of_boot)| *byte = of_boot);
    Some(origin)
}

fn machine() -> Option<Identity> {
    let id = fs::read_to_string("/etc/machine-id").ok()?;
    let id = id.trim();
    if id.is_empty() { None } else { Some(identity(&[id])) }
}

/// A digest: a machine's id is not to be shown to others (machine-id(5)).
fn identity(parts: &[&str]) -> Identity {
    let mut digest = Md5::new_with_prefix(b"ntpclock\0");
    for part in parts {
        digest.update(part.as_bytes());
        digest.update(b"\0");
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::vmclock::made_up::Device;

    #[test]
    fn a_host_is_the_same_from_one_look_to_the_next() {
        let (first, second) = (Host::observe(), Host::observe());
        assert_eq!((first.origin, first.machine), (second.origin, second.machine));
        assert!(first.origin.is_some() && first.counter <= second.counter);
        assert!((first.suspended - second.suspended).abs() < Nanos::from_millis(100));
    }

    #[test]
    fn identities_differ_where_any_part_does() {
        let all = [identity(&["a", "b"]), identity(&["ab", ""]), identity(&["", "ab"]), identity(&["a", "c"])];
        assert!((0..all.len()).all(|i| !all[..i].contains(&all[i])));
    }

    #[test]
    fn a_machine_that_came_back_from_a_snapshot_counts_from_another_origin() {
        let device = Device::new("origin");
        let mut seen = vec![marked_origin(Path::new("/nonexistent/vmclock0")), marked_origin(&device.0)];
        assert_eq!(marked_origin(&device.0), seen[1]);
        for (disruption, generation) in [(2, Some(1)), (2, Some(2)), (2, None)] {
            device.show(disruption, generation);
            seen.push(marked_origin(&device.0));
        }
        assert!((0..seen.len()).all(|i| !seen[..i].contains(&seen[i])), "{seen:?}");
    }
}
