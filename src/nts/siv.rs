//! AES-SIV-CMAC (RFC 5297), in place: a nonce that comes twice tells that two messages are the same, and nothing else.

use std::cell::RefCell;

use aes::{Aes128Enc, Aes256Enc};
use aes_siv::KeyInit;
use aes_siv::siv::CmacSiv;

use super::aead::TAG;

type Text = [u8; TAG];

/// A key, with all that is worked out of it. For one thread: a message in the making is kept in it.
pub(crate) struct Siv(RefCell<Cipher>);

/// Half of a key is for the authentication, the other half for the encryption.
enum Cipher {
    Aes128(CmacSiv<Aes128Enc>),
    Aes256(CmacSiv<Aes256Enc>),
}

impl Siv {
    /// `None` unless `key` has twice the length of one of AES.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let short = CmacSiv::new_from_slice(key).map(Cipher::Aes128);
        let cipher = short.or_else(|_| CmacSiv::new_from_slice(key).map(Cipher::Aes256)).ok()?;
        Some(Self(RefCell::new(cipher)))
    }

    /// Encrypts `text` in its place; the tag comes before it. `None` never, but for more components than there can be.
    pub(crate) fn seal<const N: usize>(&self, associated: [&[u8]; N], text: &mut [u8]) -> Option<Text> {
        let tag = match &mut *self.0.try_borrow_mut().ok()? {
            Cipher::Aes128(cipher) => cipher.encrypt_inout_detached(associated, text.into()),
            Cipher::Aes256(cipher) => cipher.encrypt_inout_detached(associated, text.into()),
        };
        tag.ok().map(Into::into)
    }

    /// Decrypts `text` in its place; if anything is not as it was sealed, nothing is told of it, and `false`.
    pub(crate) fn open<const N: usize>(&self, associated: [&[u8]; N], tag: &Text, text: &mut [u8]) -> bool {
        let Ok(mut cipher) = self.0.try_borrow_mut() else { return false };
        let tag = (*tag).into();
        let opened = match &mut *cipher {
            Cipher::Aes128(cipher) => cipher.decrypt_inout_detached(associated, (&mut *text).into(), &tag),
            Cipher::Aes256(cipher) => cipher.decrypt_inout_detached(associated, (&mut *text).into(), &tag),
        };
        emptied_unless(opened.is_ok(), text)
    }
}

/// As [`Siv::seal`] with a key that is used once, so that what is worked out of it is moved nowhere. `None` if it has
/// another length.
pub(crate) fn seal_with<const N: usize>(key: &[u8], associated: [&[u8]; N], text: &mut [u8]) -> Option<Text> {
    let tag = if key.len() == 32 {
        CmacSiv::<Aes128Enc>::new_from_slice(key).ok()?.encrypt_inout_detached(associated, text.into())
    } else {
        CmacSiv::<Aes256Enc>::new_from_slice(key).ok()?.encrypt_inout_detached(associated, text.into())
    };
    tag.ok().map(Into::into)
}

/// As [`Siv::open`] with a key that is used once; `false` also if it has another length.
pub(crate) fn open_with<const N: usize>(key: &[u8], associated: [&[u8]; N], tag: &Text, text: &mut [u8]) -> bool {
    let (tag, place) = ((*tag).into(), (&mut *text).into());
    let opened = if key.len() == 32 {
        CmacSiv::<Aes128Enc>::new_from_slice(key)
            .is_ok_and(|mut cipher| cipher.decrypt_inout_detached(associated, place, &tag).is_ok())
    } else {
        CmacSiv::<Aes256Enc>::new_from_slice(key)
            .is_ok_and(|mut cipher| cipher.decrypt_inout_detached(associated, place, &tag).is_ok())
    };
    emptied_unless(opened, text)
}

fn emptied_unless(opened: bool, text: &mut [u8]) -> bool {
    if !opened {
        text.fill(0);
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn it_is_that_of_rfc_5297() {
        // Appendix A.1.
        let siv = Siv::new(&bytes("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")).unwrap();
        let mut text = bytes("112233445566778899aabbccddee");
        let tag = siv.seal([&bytes("101112131415161718191a1b1c1d1e1f2021222324252627")], &mut text).unwrap();
        assert_eq!(tag.to_vec(), bytes("85632d07c6e8f37f950acd320a2ecc93"));
        assert_eq!(text, bytes("40c02b9690c4dc04daef7f6afe5c"));
        // Appendix A.2, with two components and a nonce.
        let siv = Siv::new(&bytes("7f7e7d7c7b7a79787776757473727170 404142434445464748494a4b4c4d4e4f")).unwrap();
        let associated = [
            bytes("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100"),
            bytes("102030405060708090a0"),
            bytes("09f911029d74e35bd84156c5635688c0"),
        ];
        let mut text = b"this is some plaintext to encrypt using SIV-AES".to_vec();
        let tag = siv.seal([&associated[0], &associated[1], &associated[2]], &mut text).unwrap();
        assert_eq!(tag.to_vec(), bytes("7bdb6e3b432667eb06f4d14bff2fbd0f"));
        assert_eq!(
            text,
            bytes("cb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d")
        );
        assert!(siv.open([&associated[0], &associated[1], &associated[2]], &tag, &mut text));
        assert_eq!(text, b"this is some plaintext to encrypt using SIV-AES");
    }

    #[test]
    fn what_is_not_whole_does_not_open_and_leaves_nothing() {
        let siv = Siv::new(&[5; 32]).unwrap();
        let mut sealed = *b"sixteen bytes, and then some";
        let tag = siv.seal([b"header"], &mut sealed).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut broken = sealed;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(!siv.open([b"header"], &tag, &mut broken));
            assert_eq!(broken, [0; 28]);
        }
        assert!(!siv.open([b"heAder"], &tag, &mut sealed.clone()));
        assert!(siv.open([b"header"], &tag, &mut sealed));
        assert_eq!(&sealed, b"sixteen bytes, and then some");
        assert!(Siv::new(&[0; 31]).is_none() && Siv::new(&[0; 64]).is_some());
    }
}
