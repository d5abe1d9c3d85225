//! Does a server that runs for long stay as it was: every request answered once, and memory, threads and files flat?
//!
//! `cargo bench --bench soak -- [--minutes 30] [--seed 7] [--profiles default,small]`: an impatient user of many documents
//! types, asks, cancels, changes settings, profile and mode, and pauses until the models leave memory, at one server for
//! the whole time. Beside it others are started and lose their editor in the middle of a decode. With `--tiny` the models
//! are two of random weights, made for the run, so that it needs none on the machine. Prints the figures and ends with an
//! error if one of them is wrong.

mod json_rpc;
#[path = "soak/typist.rs"]
mod typist;
#[path = "soak/vital_signs.rs"]
mod vital_signs;

#[path = "../tests/support/tiny_gguf.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is shared with tests, which use all of it")]
mod tiny_gguf;
#[path = "../tests/support/tiny_pair.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is shared with tests, which use all of it")]
mod tiny_pair;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use tiny_pair::TinyPair;
use typist::Typist;
use vital_signs::VitalSigns;

#[derive(Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// What chance decides; another one each time if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Profiles to change between, separated by commas
    #[arg(long, default_value = "default,small", value_delimiter = ',')]
    profiles: Vec<String>,
    /// Two tiny models instead of real ones
    #[arg(long)]
    tiny: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Between two looks at the server.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A whole run shorter than this has no pauses in which the models are unloaded, which takes a minute.
const MIN_FOR_PAUSES: Duration = Duration::from_secs(4 * 60);

/// How often another server loses its editor.
const CUT_EVERY: Duration = Duration::from_secs(15);

/// Time for a server that has lost its editor to end: the forward that runs, and goodbye.
const MOST_TO_END: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let mut args = Args::parse();
    let pair = args.tiny.then(TinyPair::new);
    if args.tiny {
        args.profiles = vec![tiny_pair::PROFILE.to_owned(), tiny_pair::SWAPPED_PROFILE.to_owned()];
    }
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let seed = args.seed.unwrap_or_else(clock);
    println!("seed {seed}, profiles {}, {} minutes", args.profiles.join(" and "), args.minutes);
    let soak = Soak { args, pair, chance: Chance(ChaCha8Rng::seed_from_u64(seed)) };
    soak.run()
}

/// What chance decides.
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.next_u64() as usize % n.max(1)
    }

    /// One of these.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

struct Soak {
    args: Args,
    pair: Option<TinyPair>,
    chance: Chance,
}

impl Soak {
    fn run(mut self) -> Result<()> {
        let all = Duration::from_secs_f64(self.args.minutes * 60.0);
        let mut typist = Typist::start(&mut self.server(), &self.args.profiles)?;
        let mut signs = VitalSigns::of(typist.process_id());
        let (started, mut looked, mut cut) = (Instant::now(), Instant::now(), Instant::now());
        let mut n_cut = 0;
        let mut pauses = match all >= MIN_FOR_PAUSES {
            true => vec![all * 2 / 3, all / 3],
            false => vec![],
        };
        while started.elapsed() < all {
            typist.act(&mut self.chance)?;
            if looked.elapsed() >= LOOK_EVERY {
                signs.look()?;
                looked = Instant::now();
            }
            if cut.elapsed() >= CUT_EVERY {
                self.cut_one_off()?;
                n_cut += 1;
                cut = Instant::now();
            }
            if pauses.pop_if(|at| *at < started.elapsed()).is_some() {
                typist.pause_until_unloaded()?;
            }
        }
        let counts = typist.finish(MOST_TO_END)?;
        println!("{counts}");
        println!("{n_cut} more servers lost their editor in the middle of a decode, and ended");
        signs.report()
    }

    /// Another server, whose editor is gone before it has its answer.
    fn cut_one_off(&mut self) -> Result<()> {
        let mut typist = Typist::start(&mut self.server(), &self.args.profiles)?;
        typist.ask_something(&mut self.chance)?;
        std::thread::sleep(Duration::from_millis(self.chance.below(700) as u64));
        let took = typist.hang_up(MOST_TO_END)?;
        ensure!(took < MOST_TO_END, "a server without an editor is still there after {took:?}");
        Ok(())
    }

    fn server(&self) -> Command {
        let mut server = json_rpc::program();
        server.args(["serve", "--offline"]);
        if let Some(pair) = &self.pair {
            server.arg("--models").arg(pair.manifest()).env("COSEC_MODELS_DIR", pair.store());
        }
        server
    }
}
