//! Which vector instructions the products use: found out at run time, or told by an environment variable.

/// The variable that names an instruction set instead of the best one.
const VARIABLE: &str = "COSEC_ISA";

/// A way of computing products. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// AVX-512 with its dot products of bytes (Ice Lake, Zen 4 and later).
    Avx512Vnni,
    /// AVX2 with fused multiplication and half floats (Haswell, Zen and later).
    Avx2,
    /// SSE4.1 with SSSE3 (Penryn, Bulldozer and later): for machines without AVX2.
    Sse41,
    /// Advanced SIMD of 64-bit ARM.
    Neon,
    /// Plain Rust: the obvious version, and the oracle of the others.
    Scalar,
}

impl InstructionSet {
    /// Every instruction set, the fastest first.
    pub const ALL: [Self; 5] =
        [Self::Avx512Vnni, Self::Avx2, Self::Sse41, Self::Neon, Self::Scalar];

    /// The fastest that this machine and its operating system support.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|set| set.is_supported()).unwrap_or(Self::Scalar)
    }

    /// What the environment variable `COSEC_ISA` names (`avx512`, `avx2`, `sse41`, `neon` or `scalar`), and a warning if it
    /// names nothing that can be used. By default, [`InstructionSet::detect`].
    pub fn from_environment() -> (Self, Option<String>) {
        Self::choose(std::env::var(VARIABLE).ok().as_deref())
    }

    /// [`InstructionSet::from_environment`] for a given value of the variable.
    pub fn choose(setting: Option<&str>) -> (Self, Option<String>) {
        let best = Self::detect();
        let Some(name) = setting.map(str::trim).filter(|name| !name.is_empty()) else {
            return (best, None);
        };
        let named = Self::ALL.into_iter().find(|set| set.name() == name.to_ascii_lowercase());
        let problem = match named {
            Some(set) if set.is_supported() => return (set, None),
            Some(_) => "this machine does not have it",
            None => "known are avx512, avx2, sse41, neon and scalar",
        };
        (best, Some(format!("{VARIABLE}={name} is ignored: {problem}; using {}", best.name())))
    }

    /// Whether this machine and its operating system have it.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Scalar => true,
            _ => false,
        }
    }

    /// Its name in `COSEC_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512",
            Self::Avx2 => "avx2",
            Self::Sse41 => "sse41",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_followed_where_it_can_be() {
        let best = InstructionSet::detect();
        assert!(best.is_supported());
        assert_eq!(InstructionSet::choose(None), (best, None));
        assert_eq!(InstructionSet::choose(Some(" ")), (best, None));
        assert_eq!(InstructionSet::choose(Some("Scalar ")), (InstructionSet::Scalar, None));
        for set in InstructionSet::ALL {
            let (chosen, warning) = InstructionSet::choose(Some(set.name()));
            assert_eq!(chosen == set, set.is_supported() || set == best);
            assert_eq!(warning.is_none(), set.is_supported());
        }
        let (chosen, warning) = InstructionSet::choose(Some("mmx"));
        assert_eq!(chosen, best);
        assert!(warning.unwrap().contains("COSEC_ISA=mmx is ignored: known are avx512"));
    }
}
