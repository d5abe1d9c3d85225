//! Panics as values, for a thread that must not end with one.
//!
//! What a panic says may quote the text that it was about, and so the user's code. A caller who has no such text (files
//! are being read) may show it; any other shows words of its own, and logs what was said at `trace`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`. What it was changing when it panicked may be half-changed, and is for the caller to drop.
///
/// # Errors
/// If it panics: what the panic says.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let panic = match panic.downcast::<String>() {
        Ok(message) => return *message,
        Err(panic) => panic,
    };
    match panic.downcast::<&'static str>() {
        Ok(message) => (*message).to_owned(),
        Err(panic) => {
            // The drop of a value that nobody knows may panic in its turn.
            std::mem::forget(panic);
            "no reason was given".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    struct PanicsAgain;

    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_panic_is_what_it_says() {
        let zero = std::hint::black_box(0);
        assert_eq!(catch(|| 1), Ok(1));
        assert_eq!(catch(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
        assert_eq!(catch(|| panic!("number {zero}")), Err::<(), _>("number 0".to_owned()));
        assert_eq!(catch(|| 1 / zero), Err("attempt to divide by zero".to_owned()));
        let unknown = catch(|| panic_any(PanicsAgain));
        assert_eq!(unknown, Err::<(), _>("no reason was given".to_owned()));
    }
}
