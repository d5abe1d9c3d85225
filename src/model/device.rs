//! The device that computes, chosen once. The only file with `cfg(feature)` for it.

use std::sync::OnceLock;

use candle_core::Device;

use super::Error;
use crate::config::ranges;

/// The first device of the build's features that answers: CUDA, Metal, else the CPU.
///
/// # Errors
/// If a device that the build is for is there, but fails to start.
pub fn select() -> Result<Device, Error> {
    if candle_core::utils::cuda_is_available() {
        return Ok(Device::new_cuda(0)?);
    }
    if candle_core::utils::metal_is_available() {
        return Ok(Device::new_metal(0)?);
    }
    Ok(Device::Cpu)
}

/// Chooses the CPU threads of quantized products, where nearly all time goes: `n_threads`, or for 0 one per physical
/// core. They run in one pool of the process, which candle starts with the first product and never changes, so only the
/// first call counts. Returns the number that the process computes with.
///
/// candle's other operations get one thread: they are short, and a second pool would only fight the first, whose threads
/// spin between two products.
pub fn choose_threads(n_threads: usize) -> usize {
    choose(n_threads, |_| 1)
}

/// As [`choose_threads`], for training: no product is quantized there, and candle's dense ones run in the pool of their
/// caller.
pub fn choose_training_threads(n_threads: usize) -> usize {
    choose(n_threads, |n_threads| n_threads)
}

fn choose(n_threads: usize, n_dense: impl Fn(usize) -> usize) -> usize {
    static CHOSEN: OnceLock<usize> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let chosen = match n_threads {
            0 => candle_core::utils::get_num_threads(),
            n => {
                ranges::THREADS.check(n as f64).map_or(candle_core::utils::get_num_threads(), |_| n)
            }
        };
        set_candle_threads(chosen, n_dense(chosen));
        chosen
    })
}

#[expect(unsafe_code, reason = "candle takes its numbers of threads from the environment only")]
fn set_candle_threads(n_quantized: usize, n_dense: usize) {
    // SAFETY: called once, by the thread that is about to load the process's first models. Rust code reads the environment under the lock that this takes; the C code that reads it without (name
    // resolution) runs on the same thread.
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", n_quantized.to_string());
        std::env::set_var("RAYON_NUM_THREADS", n_dense.to_string());
    }
}

/// `cpu`, `cuda:0` or `metal:0`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Whether candle's kernels for this device pack `Q8_0` weights only in rows of whole 256-blocks, and are much faster
/// where they do (`select` in candle's `repack_x86.rs`).
pub fn packs_whole_blocks(device: &Device) -> bool {
    let features = cpu_features();
    device.is_cpu() && ["avx512vnni", "avxvnni"].iter().any(|wanted| features.contains(wanted))
}

/// The instruction sets that the CPU kernels of this build find on this machine, best first.
pub fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
            ("avx512f", std::is_x86_feature_detected!("avx512f")),
            ("avxvnni", std::is_x86_feature_detected!("avxvnni")),
            ("avx2", std::is_x86_feature_detected!("avx2")),
            ("fma", std::is_x86_feature_detected!("fma")),
            ("f16c", std::is_x86_feature_detected!("f16c")),
            ("sse4.1", std::is_x86_feature_detected!("sse4.1")),
            ("ssse3", std::is_x86_feature_detected!("ssse3")),
        ];
        found.extend(features.iter().filter(|(_, there)| *there).map(|(name, _)| *name));
    }
    #[cfg(target_arch = "aarch64")]
    {
        let features = [
            ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
            ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
            ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ];
        found.extend(features.iter().filter(|(_, there)| *there).map(|(name, _)| *name));
    }
    found
}
