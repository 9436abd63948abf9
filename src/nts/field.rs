//! The extension fields of a request and its reply (RFC 8915, sections 5.3 to 5.7), as client and server both know them.

use super::aead::NONCE_MAX;
use super::{COOKIES_MAX, Cookie};
use crate::packet::extension;

/// Bytes of a request's unique identifier (RFC 8915, section 5.3: 32 at least).
pub(crate) const UNIQUE_LEN: usize = 32;

/// Extension fields of RFC 8915, section 7.5.
pub(crate) const UNIQUE: u16 = 0x0104;
pub(crate) const COOKIE: u16 = 0x0204;
pub(crate) const PLACEHOLDER: u16 = 0x0304;
pub(crate) const AUTHENTICATOR: u16 = 0x0404;

/// The body of an authenticator (RFC 8915, section 5.6). Servers that want longer nonces than we use would need padding
/// behind; with the ciphers we have ours are the longest there are.
pub(crate) fn authenticator(nonce: &[u8], sealed: &[u8]) -> Vec<u8> {
    // Both are some bytes long.
    let lengths = [nonce.len() as u16, sealed.len() as u16].map(u16::to_be_bytes);
    let mut body = lengths.concat();
    for part in [nonce, sealed] {
        body.extend(part);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

/// Nonce and ciphertext of an authenticator.
pub(super) fn split_authenticator(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[nonce, nonce_low, sealed, sealed_low], rest) = body.split_first_chunk()?;
    let (nonce, sealed) = (u16::from_be_bytes([nonce, nonce_low]), u16::from_be_bytes([sealed, sealed_low]));
    let (nonce_length, sealed_length) = (usize::from(nonce), usize::from(sealed));
    let nonce = rest.get(..nonce_length)?;
    let sealed = rest.get(nonce_length.next_multiple_of(4)..)?.get(..sealed_length)?;
    (nonce.len() <= NONCE_MAX).then_some((nonce, sealed))
}

/// The cookies among the encrypted fields. What else is there we have not asked for; what is no field ends it.
pub(super) fn cookies(mut plaintext: &[u8]) -> Vec<Cookie> {
    let mut cookies = Vec::new();
    while let Ok(Some((field, rest))) = extension::split(plaintext) {
        if field.kind == COOKIE && cookies.len() < COOKIES_MAX {
            cookies.extend(Cookie::new(field.body));
        }
        plaintext = rest;
    }
    cookies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_authenticator_is_read_without_harm() {
        for body in
            [&[][..], &[0, 0], &[0, 0, 0, 0], &[0xff; 8], &[0, 16, 0, 16, 1, 2], &[0, 20, 0, 0], &[0, 3, 0, 1, 0, 0, 0]]
        {
            let _ = split_authenticator(body);
        }
        assert_eq!(split_authenticator(&[0, 1, 0, 2, 9, 0, 0, 0, 7, 8, 0, 0]), Some((&[9][..], &[7, 8][..])));
        let long_nonce = [&[0, 20, 0, 0][..], &[0; 20]].concat();
        assert_eq!(split_authenticator(&long_nonce), None);
    }
}
