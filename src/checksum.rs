//! The checksum of what lies in files, CRC-32 (ISO-HDLC): it finds mishaps, no forgers.

use crc::{CRC_32_ISO_HDLC, Crc};

static CRC_32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// The checksum of `bytes`.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    CRC_32.checksum(bytes)
}

/// The checksum of the bytes of `words`, in the machine's order.
pub(crate) fn of_words(words: &[u64]) -> u32 {
    let mut digest = CRC_32.digest();
    words.iter().for_each(|word| digest.update(&word.to_ne_bytes()));
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_that_everybody_means() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(of(b"123456789"), 0xcbf4_3926);
        assert_eq!(
            of_words(&[u64::from_ne_bytes(*b"12345678"), u64::from_ne_bytes(*b"9abcdefg")]),
            of(b"123456789abcdefg")
        );
    }
}
