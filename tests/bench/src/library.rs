//! The C functions of the library under test, found as any program's linker finds them.

use std::ffi::{CString, c_char, c_void};

use libc::{RTLD_NOW, dlerror, dlopen, dlsym};

/// `ntp_reading`, of which only a few members matter here.
#[repr(C, align(8))]
#[derive(Default)]
pub struct Reading {
    pub unix_ns: i64,
    pub earliest_ns: i64,
    pub latest_ns: i64,
    pub raw_ns: i64,
    pub age_ns: i64,
    pub epoch: u32,
    pub state: i32,
    pub flags: u32,
    _rest: [u8; 12],
}

/// `NTP_FLAG_SLEWING`.
pub const SLEWING: u32 = 1 << 2;

type Opaque = *mut c_void;

/// Its functions.
#[derive(Clone, Copy)]
pub struct Library {
    pub now: extern "C" fn() -> i64,
    pub now_relaxed: extern "C" fn() -> i64,
    pub clock_now: unsafe extern "C" fn(*const c_void, *mut Reading) -> i32,
    pub clock_now_checked: unsafe extern "C" fn(*const c_void, *mut Reading) -> i32,
    pub start: unsafe extern "C" fn(*const c_char) -> i32,
    pub wait: extern "C" fn(i64) -> i32,
    pub config_new: extern "C" fn() -> Opaque,
    pub config_add_servers: unsafe extern "C" fn(Opaque, *const c_char) -> i32,
    pub config_set_poll: unsafe extern "C" fn(Opaque, i32, i32) -> i32,
    pub clock_start: unsafe extern "C" fn(Opaque, *mut Opaque) -> i32,
    pub clock_free: unsafe extern "C" fn(Opaque),
}

impl Library {
    /// Loads the library; the program ends if that fails.
    pub fn load(path: &str) -> Self {
        let path = CString::new(path).expect("a path without NUL");
        // SAFETY: a NUL-terminated string; loading our own library runs nothing but its initialisers.
        let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        assert!(!handle.is_null(), "{path:?} cannot be loaded: {:?}", {
            // SAFETY: after a failure it gives a string.
            unsafe { std::ffi::CStr::from_ptr(dlerror()) }
        });
        macro_rules! functions {
            ($($member:ident: $name:literal as $type:ty,)*) => {
                Self { $($member: {
                    // SAFETY: the handle is live, the name is a string.
                    let address = unsafe { dlsym(handle, concat!($name, "\0").as_ptr().cast()) };
                    assert!(!address.is_null(), concat!("no ", $name));
                    // SAFETY: so the header declares it.
                    unsafe { std::mem::transmute::<*mut c_void, $type>(address) }
                },)* }
            };
        }
        functions! {
            now: "ntp_now" as extern "C" fn() -> i64,
            now_relaxed: "ntp_now_relaxed" as extern "C" fn() -> i64,
            clock_now: "ntp_clock_now" as unsafe extern "C" fn(*const c_void, *mut Reading) -> i32,
            clock_now_checked: "ntp_clock_now_checked" as unsafe extern "C" fn(*const c_void, *mut Reading) -> i32,
            start: "ntp_start" as unsafe extern "C" fn(*const c_char) -> i32,
            wait: "ntp_wait" as extern "C" fn(i64) -> i32,
            config_new: "ntp_config_new" as extern "C" fn() -> Opaque,
            config_add_servers: "ntp_config_add_servers" as unsafe extern "C" fn(Opaque, *const c_char) -> i32,
            config_set_poll: "ntp_config_set_poll" as unsafe extern "C" fn(Opaque, i32, i32) -> i32,
            clock_start: "ntp_clock_start" as unsafe extern "C" fn(Opaque, *mut Opaque) -> i32,
            clock_free: "ntp_clock_free" as unsafe extern "C" fn(Opaque),
        }
    }

    /// Reads the process-wide clock.
    pub fn read(&self) -> Reading {
        let mut reading = Reading::default();
        // SAFETY: NULL is the process-wide clock; the reading is ours.
        unsafe { (self.clock_now)(std::ptr::null(), &raw mut reading) };
        reading
    }
}
