//! Symmetric keys: a message authentication code behind the packet, AES-CMAC (RFC 8573).
//!
//! ```text
//! header and extension fields | key id, 4 bytes | tag, 16 bytes, over all before the key id
//! ```
//!
//! A key belongs to the servers it was given to: a reply must be authenticated by the very key that its request was,
//! whatever other keys we know (with any key of many, one server could speak for all: CVE-2016-1567).

use std::fmt;

use aes::{Aes128, Aes256};
use cmac::{Cmac, KeyInit, Mac};
use zeroize::Zeroizing;

/// Length of a key id and a tag, in bytes.
pub(crate) const MAC_LEN: usize = ID_LEN + TAG_LEN;
const ID_LEN: usize = 4;
const TAG_LEN: usize = 16;

/// A key that we share with a server. It is wiped from memory when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    id: u32,
    secret: Zeroizing<Vec<u8>>,
    cipher: Cipher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    Aes128,
    Aes256,
}

/// What is wrong with a datagram's authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// There is no code, or one of another length or key.
    Missing,
    /// The server could not authenticate our request (crypto-NAK). Anybody can say so.
    Nak,
    /// The code is not that of this datagram under the key.
    Wrong,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?})", self.id, self.cipher)
    }
}

impl Key {
    /// Reads `id`, `kind` and `secret` as they stand in a line of a key file; `Err` completes "the key …".
    pub(crate) fn parse(id: &str, kind: &str, secret: &str) -> Result<Self, String> {
        let id = match id.parse() {
            // Zero is the id of a crypto-NAK.
            Ok(id) if id != 0 => id,
            _ => return Err("id is not a number from 1 to 4294967295".to_owned()),
        };
        let (cipher, length) = match kind {
            "AES128" => (Cipher::Aes128, 16),
            "AES256" => (Cipher::Aes256, 32),
            _ => return Err(format!("type is `{}`; AES128 and AES256 are known", kind.escape_debug())),
        };
        let secret = secret_bytes(secret)?;
        if secret.len() != length {
            return Err(format!("has {} bytes; {kind} takes {length}", secret.len()));
        }
        Ok(Self { id, secret, cipher })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Appends the code of all that is in `datagram`.
    pub(crate) fn authenticate(&self, datagram: &mut Vec<u8>) {
        let tag = match self.cipher {
            Cipher::Aes128 => self.code::<Cmac<Aes128>>(datagram).map(|code| code.finalize().into_bytes().to_vec()),
            Cipher::Aes256 => self.code::<Cmac<Aes256>>(datagram).map(|code| code.finalize().into_bytes().to_vec()),
        };
        // A key has the length its cipher takes: it was made so.
        if let Some(tag) = tag {
            datagram.extend(self.id.to_be_bytes());
            datagram.extend(tag);
        }
    }

    /// Checks that `datagram`, behind whose first `header` bytes codes begin, carries this key's; takes the same time
    /// for every wrong one.
    pub(crate) fn verify(&self, datagram: &[u8], header: usize) -> Result<(), Forgery> {
        if datagram.get(header..) == Some(&[0; ID_LEN]) {
            return Err(Forgery::Nak);
        }
        let (covered, code) = datagram.split_last_chunk::<MAC_LEN>().ok_or(Forgery::Missing)?;
        let (id, tag) = code.split_first_chunk::<ID_LEN>().ok_or(Forgery::Missing)?;
        if covered.len() < header || *id != self.id.to_be_bytes() {
            return Err(Forgery::Missing);
        }
        let good = match self.cipher {
            Cipher::Aes128 => self.code::<Cmac<Aes128>>(covered).is_some_and(|code| code.verify_slice(tag).is_ok()),
            Cipher::Aes256 => self.code::<Cmac<Aes256>>(covered).is_some_and(|code| code.verify_slice(tag).is_ok()),
        };
        if good { Ok(()) } else { Err(Forgery::Wrong) }
    }

    fn code<M: Mac + KeyInit>(&self, covered: &[u8]) -> Option<M> {
        let mut code = <M as KeyInit>::new_from_slice(&self.secret).ok()?;
        code.update(covered);
        Some(code)
    }
}

/// Bytes in hexadecimal behind `HEX:`; or the text itself, with `ASCII:` before it or without.
pub(crate) fn secret_bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let Some(digits) = text.strip_prefix("HEX:") else {
        return Ok(Zeroizing::new(text.strip_prefix("ASCII:").unwrap_or(text).as_bytes().to_vec()));
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks(2) {
        let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (digit(0), digit(1)) {
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => return Err("is not a number of whole bytes in hexadecimal".to_owned()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 48;

    fn bytes(digits: &str) -> Vec<u8> {
        secret_bytes(&format!("HEX:{digits}")).unwrap().to_vec()
    }

    fn key(id: &str) -> Key {
        Key::parse(id, "AES128", "HEX:2b7e151628aed2a6abf7158809cf4f3c").unwrap()
    }

    fn signed(key: &Key) -> Vec<u8> {
        let mut datagram = (0..HEADER as u8).collect();
        key.authenticate(&mut datagram);
        datagram
    }

    #[test]
    fn the_codes_are_those_of_rfc_4493_and_of_nist_for_the_longer_key() {
        let message = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
        let long = "HEX:603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        let long = Key::parse("1", "AES256", long).unwrap();
        for (key, length, code) in [
            (key("1"), 0, "bb1d6929e95937287fa37d129b756746"),
            (key("1"), 16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (key("1"), 40, "dfa66747de9ae63030ca32611497c827"),
            (long.clone(), 16, "28a7023f452e8f82bd4bf28d8c37c35c"),
            (long, 40, "aaf3d8f1de5640c232f5b169b9c911e6"),
        ] {
            let mut datagram = message[..length].to_vec();
            key.authenticate(&mut datagram);
            assert_eq!(datagram[length..], [&[0, 0, 0, 1], bytes(code).as_slice()].concat(), "{key:?} {length}");
            assert_eq!(key.verify(&datagram, 0), Ok(()));
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let key = key("5");
        let good = signed(&key);
        assert_eq!(key.verify(&good, HEADER), Ok(()));
        for bit in 0..good.len() * 8 {
            let mut forged = good.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(key.verify(&forged, HEADER).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_not_authenticated_by_this_very_key_is_refused() {
        let good = signed(&key("5"));
        assert_eq!(key("6").verify(&good, HEADER), Err(Forgery::Missing), "the same secret under another id");
        let other = Key::parse("5", "AES128", "HEX:00000000000000000000000000000000").unwrap();
        assert_eq!(other.verify(&good, HEADER), Err(Forgery::Wrong));
        for length in 0..good.len() {
            assert!(key("5").verify(&good[..length], HEADER).is_err(), "{length} bytes");
        }
        let nak = [&good[..HEADER], &[0; 4]].concat();
        assert_eq!(key("5").verify(&nak, HEADER), Err(Forgery::Nak));
    }

    #[test]
    fn a_key_is_read_as_it_stands_in_a_key_file_and_never_printed() {
        let text = key("7");
        assert_eq!(Key::parse("7", "AES128", "HEX:2B7E151628AED2A6ABF7158809CF4F3C").unwrap(), text);
        assert!(Key::parse("7", "AES128", "sixteen letters!").is_ok());
        assert_eq!(format!("{text:?}"), "Key(7, Aes128)");
        for (id, kind, secret, why) in [
            ("0", "AES128", "HEX:00", "id"),
            ("-1", "AES128", "HEX:00", "id"),
            ("x", "AES128", "HEX:00", "id"),
            ("4294967296", "AES128", "HEX:00", "id"),
            ("1", "MD5", "HEX:00", "MD5"),
            ("1", "AES128", "HEX:000", "hexadecimal"),
            ("1", "AES128", "HEX:0g", "hexadecimal"),
            ("1", "AES128", "HEX:00", "takes 16"),
            ("1", "AES256", "HEX:2b7e151628aed2a6abf7158809cf4f3c", "takes 32"),
        ] {
            let told = Key::parse(id, kind, secret).unwrap_err();
            assert!(told.contains(why) && !told.contains("2b7e"), "{id} {kind} {secret}: {told}");
        }
    }
}
