//! A target under libFuzzer, in a build whose own crates are instrumented: see `tests/fuzz/long`.

use std::ffi::{CString, c_char, c_int};
use std::sync::OnceLock;

use super::{TARGETS, Target, seeds};

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        one: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

static TARGET: OnceLock<&Target> = OnceLock::new();

extern "C" fn one(bytes: *const u8, length: usize) -> c_int {
    // SAFETY: libFuzzer gives `length` bytes that live as long as the call.
    let bytes = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(bytes, length) } };
    if let Some(target) = TARGET.get()
        && std::panic::catch_unwind(|| (target.run)(bytes)).is_err()
    {
        // libFuzzer writes the input down and ends.
        std::process::abort();
    }
    0
}

/// `TONGQU_FUZZ` names the target, `TONGQU_FUZZ_DIR` its corpus, `TONGQU_FUZZ_ARGS` what libFuzzer is told.
#[test]
fn guided() {
    let Ok(name) = std::env::var("TONGQU_FUZZ") else { return };
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let folder = std::env::var("TONGQU_FUZZ_DIR").expect("a folder for the corpus");
    let _first = TARGET.set(target);
    for (number, seed) in seeds(target).iter().enumerate() {
        std::fs::write(format!("{folder}/seed-{number}"), seed).expect("written");
    }
    let told = std::env::var("TONGQU_FUZZ_ARGS").unwrap_or_default();
    let arguments: Vec<CString> = ["fuzz", folder.as_str()]
        .into_iter()
        .chain(told.split_whitespace())
        .map(|argument| CString::new(argument).expect("no zero byte"))
        .collect();
    let drive = move || {
        let mut pointers: Vec<*mut c_char> = arguments
            .iter()
            .map(|argument| argument.as_ptr().cast_mut())
            .chain([std::ptr::null_mut()])
            .collect();
        let mut count = c_int::try_from(arguments.len()).expect("few");
        let mut list = pointers.as_mut_ptr();
        // SAFETY: the list ends with a null pointer and outlives the call, as `main`'s would.
        unsafe { LLVMFuzzerRunDriver(&mut count, &mut list, one) }
    };
    let thread = std::thread::Builder::new().stack_size(policies::statement::STACK_BYTES).spawn(drive);
    assert_eq!(thread.expect("a thread").join().expect("it ends"), 0);
}
