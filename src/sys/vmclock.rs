//! What the hypervisor tells its guest of disruptions: migration to another host, a return from a snapshot.
//!
//! Linux shows the page that the two share as a device (`include/uapi/linux/vmclock-abi.h`, from 6.13 on). We want but
//! two numbers of it: one changes when the counter was disrupted, the other when the machine came back from a saved
//! state. The device is read, not mapped: the kernel then sees to it that what we get is of one piece, and nobody can
//! cut the page off under us.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{beside_standard, wake};

/// Where Linux has it.
pub(crate) const DEVICE: &str = "/dev/vmclock0";

/// The numbers that never repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) disruption: u64,
    /// `None` where the hypervisor does not count returns from saved states.
    pub(crate) generation: Option<u64>,
}

/// The device, open.
#[derive(Debug)]
pub(crate) struct VmClock {
    file: File,
    /// Whether the descriptor becomes readable when the page has changed, and only then.
    wakes: bool,
}

/// Bytes that we must know of the page, and those that it has with the generation.
const SHORTEST: usize = 40;
const LENGTH: usize = 112;

const MAGIC: &[u8] = b"VCLK";
const VERSION: u16 = 1;
const GENERATION_PRESENT: u64 = 1 << 8;

/// Attempts at a page that is being changed.
const ATTEMPTS: usize = 4;

impl VmClock {
    /// Opens the device at `path`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It is there, and cannot be opened or read.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path).and_then(beside_standard) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut device = Self { file, wakes: false };
        device.marks()?;
        // Kernels without notifications call the device readable always, or broken.
        device.wakes = matches!(wake::wait(&[device.file.as_raw_fd()], Some(Duration::ZERO)), Ok(ready) if ready.first() == Some(&false));
        Ok(Some(device))
    }

    /// The marks now.
    pub(crate) fn marks(&mut self) -> io::Result<Marks> {
        let marks = self.read();
        // What cannot be read might never fall silent.
        self.wakes &= marks.is_ok();
        marks
    }

    fn read(&self) -> io::Result<Marks> {
        for _ in 0..ATTEMPTS {
            let mut page = [0; LENGTH];
            let length = self.file.read_at(&mut page, 0)?;
            if let Some(marks) = parse(page.get(..length).unwrap_or_default())? {
                return Ok(marks);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// What to wait for beside other things, until [`Self::marks`] is called; `None` where that would be of no use.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.wakes.then(|| self.file.as_raw_fd())
    }
}

/// The marks of a page; `None` if it was being changed when it was read.
fn parse(page: &[u8]) -> io::Result<Option<Marks>> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    if page.len() < SHORTEST || !page.starts_with(MAGIC) {
        return Err(invalid("it is no vmclock"));
    }
    if page.get(8..10) != Some(&VERSION.to_le_bytes()) {
        return Err(invalid("it is a vmclock of an unknown version"));
    }
    let number = |at: usize| page.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    // The lowest bit of the sequence count says that an update is under way.
    let (changing, disruption, flags) = (page.get(12).is_some_and(|count| count & 1 != 0), number(16), number(24));
    let counted = flags.is_some_and(|flags| flags & GENERATION_PRESENT != 0);
    let generation = number(104).filter(|_| counted);
    Ok(disruption.filter(|_| !changing).map(|disruption| Marks { disruption, generation }))
}

#[cfg(test)]
pub(crate) mod made_up {
    use super::*;
    use std::path::PathBuf;

    /// A file that looks like the device, removed when dropped.
    pub(crate) struct Device(pub(crate) PathBuf);

    impl Device {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ntpclock-vmclock-{name}-{}", std::process::id()));
            let device = Self(path);
            device.show(1, Some(1));
            device
        }

        /// In place, as a hypervisor does.
        pub(crate) fn show(&self, disruption: u64, generation: Option<u64>) {
            self.write(&page(disruption, generation));
        }

        /// It as a kernel shows it that notifies, and that has something to tell.
        pub(crate) fn telling(&self) -> VmClock {
            VmClock { wakes: true, ..VmClock::open(&self.0).unwrap().unwrap() }
        }

        pub(crate) fn write(&self, bytes: &[u8]) {
            let options = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.0);
            options.unwrap().write_all_at(bytes, 0).unwrap();
        }
    }

    impl Drop for Device {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    pub(crate) fn page(disruption: u64, generation: Option<u64>) -> [u8; 4096] {
        let mut page = [0; 4096];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(4, &4096_u32.to_le_bytes());
        put(8, &VERSION.to_le_bytes());
        put(12, &46_u32.to_le_bytes());
        put(16, &disruption.to_le_bytes());
        put(24, &(u64::from(generation.is_some()) << 8 | 1).to_le_bytes());
        put(104, &generation.unwrap_or(0xdead).to_le_bytes());
        page
    }
}

#[cfg(test)]
mod tests {
    use super::made_up::{Device, page};
    use super::*;

    #[test]
    fn a_machine_without_the_device_has_none_and_that_is_no_fault() {
        assert!(VmClock::open(Path::new("/nonexistent/vmclock0")).unwrap().is_none());
    }

    #[test]
    fn the_marks_are_read_anew_each_time() {
        let device = Device::new("marks");
        let mut open = VmClock::open(&device.0).unwrap().unwrap();
        for (disruption, generation) in [(1, Some(1)), (2, Some(1)), (u64::MAX, Some(7)), (3, None)] {
            device.show(disruption, generation);
            assert_eq!(open.marks().unwrap(), Marks { disruption, generation });
        }
        // A file is always readable: to wait for it would be to turn in circles.
        assert_eq!(open.descriptor(), None);
    }

    #[test]
    fn what_is_no_vmclock_is_refused_by_name() {
        let device = Device::new("foreign");
        let mut bytes = page(1, None);
        bytes[8] = 9;
        for (bytes, why) in [(&bytes[..], "unknown version"), (&[7; 64][..], "no vmclock")] {
            device.write(bytes);
            let error = VmClock::open(&device.0).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(parse(&page(5, Some(6))[..LENGTH - 1]).unwrap().unwrap().generation, None);
        assert!(parse(&page(5, Some(6))[..SHORTEST - 1]).is_err());
    }

    #[test]
    fn a_page_that_is_being_changed_is_not_believed() {
        let device = Device::new("changing");
        let mut open = VmClock::open(&device.0).unwrap().unwrap();
        let mut bytes = page(9, Some(9));
        bytes[12] |= 1;
        device.write(&bytes);
        assert_eq!(open.marks().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
