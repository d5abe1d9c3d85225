//! What the settings say about single files: secret ones are left alone, some have their own α.
//!
//! Patterns are compiled once per settings and workspace ([`PathGlobs`] says what they mean) and matched with every name
//! of a document ([`FileNames`]): one secret name is enough.

use super::file_names::FileNames;
use super::path_globs::{NameOf, PathGlobs, Roots, problem};
use crate::config::Settings;
use crate::config::secret_files::{LANGUAGE, SECRET_FILES};
use crate::text::language::editor_id;

/// The entry of `excludedFiles` that takes the default patterns away.
const NO_DEFAULTS: &str = "!default";

/// The compiled patterns of one [`Settings`] in one workspace.
#[derive(Clone, Debug)]
pub struct FileRules {
    exclusions: Vec<Exclusion>,
    exclusion_globs: PathGlobs,
    alpha: Vec<f32>,
    alpha_globs: PathGlobs,
    source: Source,
}

/// What [`FileRules`] were made of.
#[derive(Clone, Debug)]
struct Source {
    excluded_files: Vec<String>,
    alpha_by_path: Vec<(String, f32)>,
    roots: Roots,
}

/// One pattern of `excludedFiles` or of the defaults.
#[derive(Clone, Debug)]
struct Exclusion {
    /// As in the settings.
    pattern: String,
    verdict: Verdict,
    subject: Subject,
    name_of: NameOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Exclude,
    TakeBack,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Path(String),
    Language(String),
}

/// Which exclusions are in force, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Default patterns in force: none if the user has said `!default`.
    pub n_default: usize,
    /// The user's own patterns.
    pub n_own: usize,
    /// Patterns that cannot do what they say, each with the reason.
    pub unusable: Vec<String>,
}

impl FileRules {
    /// Compiles the patterns of `settings`.
    pub fn new(settings: &Settings, roots: &Roots) -> Self {
        let exclusions = exclusions(&settings.excluded_files);
        let paths = exclusions.iter().map(|exclusion| match &exclusion.subject {
            Subject::Path(glob) => (glob.as_str(), exclusion.name_of),
            // An empty pattern matches nothing, and keeps the indices in step.
            Subject::Language(_) => ("", NameOf::File),
        });
        let exclusion_globs = PathGlobs::new(paths, roots);
        let alpha_paths = settings.alpha_by_path.iter();
        let alpha_paths = alpha_paths.map(|(glob, _)| (glob.as_str(), NameOf::FileOrFolder));
        Self {
            exclusion_globs,
            exclusions,
            alpha: settings.alpha_by_path.iter().map(|&(_, alpha)| alpha).collect(),
            alpha_globs: PathGlobs::new(alpha_paths, roots),
            source: Source {
                excluded_files: settings.excluded_files.clone(),
                alpha_by_path: settings.alpha_by_path.clone(),
                roots: roots.clone(),
            },
        }
    }

    /// Whether these are still the rules of `settings`.
    pub fn belong_to(&self, settings: &Settings, roots: &Roots) -> bool {
        let Source { excluded_files, alpha_by_path, roots: own_roots } = &self.source;
        *excluded_files == settings.excluded_files
            && *alpha_by_path == settings.alpha_by_path
            && own_roots == roots
    }

    /// The pattern that excludes a document of these names and this language. Per name, and for the language, the last
    /// pattern that matches counts.
    pub fn excluding(&self, names: &FileNames, language: &str) -> Option<&str> {
        let by_name = names.iter().map(|name| self.exclusion_globs.matching(name).pop());
        let language = Subject::Language(language.to_owned());
        let by_language = self.exclusions.iter().rposition(|rule| rule.subject == language);
        let mut last = by_name.chain([by_language]).flatten().map(|idx| &self.exclusions[idx]);
        let found = last.find(|exclusion| exclusion.verdict == Verdict::Exclude);
        found.map(|exclusion| exclusion.pattern.as_str())
    }

    /// The α of the first glob that matches.
    pub fn alpha(&self, names: &FileNames) -> Option<f32> {
        let first =
            names.iter().filter_map(|name| self.alpha_globs.matching(name).first().copied());
        first.min().map(|idx| self.alpha[idx])
    }

    /// What there is to tell about the exclusions.
    pub fn exclusions(&self) -> Exclusions {
        let own = &self.source.excluded_files;
        let has_defaults = !own.iter().any(|pattern| is_no_defaults(pattern));
        Exclusions {
            n_default: if has_defaults { SECRET_FILES.len() } else { 0 },
            n_own: own.iter().filter(|pattern| !is_no_defaults(pattern)).count(),
            unusable: own
                .iter()
                .filter_map(|pattern| Some(format!("`{pattern}` {}", exclusion_problem(pattern)?)))
                .collect(),
        }
    }
}

/// Why an entry of `excludedFiles` cannot do what it says, for people; none for one that can.
pub fn exclusion_problem(pattern: &str) -> Option<String> {
    let (_, rest) = verdict(pattern);
    match rest.strip_prefix(LANGUAGE) {
        _ if is_no_defaults(pattern) => None,
        Some(id) if id.trim().is_empty() => Some("names no language".to_owned()),
        Some(_) => None,
        None => problem(rest),
    }
}

fn exclusions(own: &[String]) -> Vec<Exclusion> {
    let has_defaults = !own.iter().any(|pattern| is_no_defaults(pattern));
    let defaults = SECRET_FILES.iter().filter(|_| has_defaults);
    let defaults = defaults.map(|secret| exclusion(&secret.pattern(), NameOf::File));
    let own = own.iter().filter(|pattern| !is_no_defaults(pattern));
    defaults.chain(own.map(|pattern| exclusion(pattern, NameOf::FileOrFolder))).collect()
}

fn exclusion(pattern: &str, name_of: NameOf) -> Exclusion {
    let (verdict, rest) = verdict(pattern);
    let subject = match rest.strip_prefix(LANGUAGE) {
        Some(id) => Subject::Language(editor_id(id.trim()).to_owned()),
        None => Subject::Path(rest.to_owned()),
    };
    Exclusion { pattern: pattern.to_owned(), verdict, subject, name_of }
}

/// `!` takes back, as in `.gitignore`; a name that begins with one is written `\!`.
fn verdict(pattern: &str) -> (Verdict, &str) {
    let pattern = pattern.trim();
    match pattern.strip_prefix('!') {
        Some(rest) => (Verdict::TakeBack, rest),
        None if pattern.starts_with("\\!") => (Verdict::Exclude, &pattern[1..]),
        None => (Verdict::Exclude, pattern),
    }
}

fn is_no_defaults(pattern: &str) -> bool {
    pattern.trim().eq_ignore_ascii_case(NO_DEFAULTS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::secret_files::Secret;
    use crate::engine::DocumentId;

    const NO_ROOTS: Roots = Roots { folders: Vec::new(), home: None };

    fn names(path: &str) -> FileNames {
        FileNames::new(&DocumentId("".into()), Some(Path::new(path)), &[])
    }

    fn rules(excluded: &[&str]) -> FileRules {
        let excluded_files = excluded.iter().map(|pattern| (*pattern).to_owned()).collect();
        FileRules::new(&Settings { excluded_files, ..Settings::default() }, &NO_ROOTS)
    }

    #[test]
    fn each_row_of_the_table_is_for_its_example() {
        let all = rules(&[]);
        for secret in SECRET_FILES {
            let pattern = secret.pattern();
            let alone = rules(&["!default", &pattern]);
            let excluding = |rules: &FileRules, path: &str| match secret.what {
                Secret::Language(_) => rules.excluding(&names("/w/x"), path).is_some(),
                _ => rules.excluding(&names(path), "").is_some(),
            };
            let is_open = matches!(secret.what, Secret::Open(_));
            for folder in ["", "/w/", "/w/a b/c/", "C:\\w\\"] {
                let path = match secret.what {
                    Secret::Language(_) => secret.example.to_owned(),
                    _ => format!("{folder}{}", secret.example),
                };
                assert_eq!(excluding(&alone, &path), !is_open, "{pattern}: {path}");
                assert_eq!(excluding(&all, &path), !is_open, "{path}");
                let is_path = !matches!(secret.what, Secret::Language(_));
                let loud = if is_path { path.to_uppercase() } else { path };
                assert_eq!(excluding(&all, &loud), !is_open, "{loud}");
            }
        }
    }

    /// Below somebody's home.
    const SECRET: &str = "
        .env .env.example .env.production.local .envrc .env~ api.env .netrc _netrc .pgpass
        .my.cnf .npmrc .yarnrc.yml .pypirc .git-credentials credentials credentials.json
        aws-credentials.csv service-account.json my_service_account_key.json
        client_secret.json client_secret_12.apps.googleusercontent.com.json .htpasswd
        .dockercfg terraform.tfvars prod.auto.tfvars terraform.tfstate kubeconfig id_rsa
        id_ed25519 id_ecdsa_sk a.ppk a.jks a.keystore a.kdbx a.ovpn a.asc a.gpg wallet.dat
        shadow sudoers .vault-token .terraformrc secrets.yml secrets.yml.enc secret.json
        local.settings.json wp-config.php database.yml config/master.key AuthKey_1.p8
        x.mobileprovision .bash_history .psql_history .node_repl_history .mysql_history
        key4.db .s3cfg .boto rclone.conf .config/gh/hosts.yml .config/hub/x
        .config/gcloud/a/b .azure/accessTokens.json .ssh/known_hosts .aws/config
        .kube/config .docker/config.json .gnupg/x .password-store/a/b auth.json
        appsettings.Development.json .git/config .m2/settings.xml htpasswd
        .config/rclone/rclone.conf sftp-config.json passwords.csv etc/gshadow-
    ";

    #[test]
    fn a_careful_person_s_list_is_covered() {
        let rules = rules(&[]);
        for path in SECRET.split_whitespace().chain(["Login Data", ".env copy", "id_rsa.old copy"])
        {
            let found = rules.excluding(&names(&format!("/home/x/{path}")), "");
            assert!(found.is_some(), "{path}");
        }
    }

    /// Below a workspace folder.
    const OPEN: &str = "
        main.rs env.rs environment.ts environment.prod.ts next-env.d.ts env.d.ts key.rs
        keys.py keyboard.c monkey.key.rs secrets.rs secrets/mod.rs secret_store.go
        credentials.rs credentials/mod.rs Credentials.java passwords.ts token.rs tokens.json
        wallet.ts shadow.css history.ts id_rsa.pub deploy_key.pub rsa.go crypto_rsa.go
        crypto_rsa_test.go ssh/config.go aws/s3.py docker/Dockerfile kube/deploy.yaml
        Dockerfile docker-compose.yml .gitignore .github/workflows/ci.yml
        .vscode/settings.json settings.json config.json package.json tsconfig.json
        appsettings.json Makefile README.md notes.txt values.yaml main.tf variables.tf
        schema.sql test.pem.rs certs.py private/x.rs net/wireguard/main.c gcloud/storage.py
        pip.py auth.ts login.html database.ts php.ini
    ";

    #[test]
    fn source_code_is_no_secret() {
        let rules = rules(&[]);
        for path in OPEN.split_whitespace() {
            assert_eq!(rules.excluding(&names(&format!("/w/{path}")), ""), None, "{path}");
        }
        for language in ["python", "properties", "json", "shellscript", "yaml", "plaintext", ""] {
            assert_eq!(rules.excluding(&names("/w/x"), language), None, "{language}");
        }
    }

    #[test]
    fn a_user_s_list_adds_to_the_defaults() {
        let excluding = |own: &[&str], path: &str, language: &str| {
            rules(own).excluding(&names(path), language).map(str::to_owned)
        };
        for (own, path, language, pattern) in [
            (&["*.foo"][..], "/w/a.foo", "", Some("*.foo")),
            (&["*.foo"], "/w/.env", "", Some("**/.env*")),
            (&["!default"], "/w/.env", "dotenv", None),
            (&["*.foo", " !Default "], "/w/a.foo", "", Some("*.foo")),
            (&["!default", ".env"], "/w/.env", "", Some(".env")),
            (&["!**/.npmrc"], "/w/.npmrc", "", None),
            (&["!.npmrc"], "/w/.npmrc", "", None),
            (&["!.npmrc"], "/w/.env", "", Some("**/.env*")),
            (&["!.env.example"], "/w/.env.example", "", None),
            (&["!.env.example"], "/w/.env.example", "dotenv", Some("language:dotenv")),
            (&["!language:env"], "/w/x", "dotenv", None),
            (&["language:sh"], "/w/x", "shellscript", Some("language:sh")),
            (&["*.rs", "!main.rs"], "/w/main.rs", "", None),
            (&["!main.rs", "*.rs"], "/w/main.rs", "", Some("*.rs")),
            (&["\\!x"], "/w/!x", "", Some("\\!x")),
            (&["", "!", "  "], "/w/x", "", None),
        ] {
            assert_eq!(excluding(own, path, language).as_deref(), pattern, "{own:?} {path}");
        }
    }

    #[test]
    fn one_secret_name_is_enough() {
        let id = DocumentId("file:///w/notes.txt".into());
        let names = |behind: &str| FileNames::new(&id, None, &[behind.into()]);
        let of = |own: &[&str], behind: &str| {
            rules(own).excluding(&names(behind), "").map(str::to_owned)
        };
        assert_eq!(of(&[], "/home/x/.ssh/config").as_deref(), Some("**/.ssh/**"));
        assert_eq!(of(&[], "/w/todo.txt"), None);
        // Taking the link back says nothing of what it leads to.
        assert_eq!(of(&["!notes.txt"], "/home/x/.ssh/config").as_deref(), Some("**/.ssh/**"));
    }

    #[test]
    fn the_first_matching_alpha_wins() {
        let settings = Settings {
            alpha_by_path: vec![
                ("**/test/**".into(), 0.1),
                ("*.rs".into(), 0.5),
                ("src/auth/".into(), 0.6),
                ("~/x".into(), 0.7),
            ],
            ..Settings::default()
        };
        let roots = Roots { folders: vec!["/w".into()], home: Some("/home/me".into()) };
        let rules = FileRules::new(&settings, &roots);
        for (path, alpha) in [
            ("/w/test/a.rs", Some(0.1)),
            ("/w/src/a.rs", Some(0.5)),
            ("/w/src/a.py", None),
            ("/w/src/auth/a/b.py", Some(0.6)),
            ("/v/src/auth/b.py", None),
            ("/home/me/x/y.py", Some(0.7)),
        ] {
            assert_eq!(rules.alpha(&names(path)), alpha, "{path}");
        }
        assert!(rules.belong_to(&settings, &roots));
        assert!(!rules.belong_to(&settings, &NO_ROOTS));
        assert!(!rules.belong_to(&Settings::default(), &roots));
    }

    #[test]
    fn what_is_in_force_is_told() {
        let told = rules(&["*.foo", "a[", "!default"]).exclusions();
        assert_eq!((told.n_default, told.n_own), (0, 2));
        assert_eq!(told.unusable.len(), 1);
        assert!(told.unusable[0].starts_with("`a[` is not valid"), "{:?}", told.unusable);
        let told = rules(&[]).exclusions();
        assert_eq!((told.n_default, told.n_own, told.unusable.len()), (SECRET_FILES.len(), 0, 0));
    }
}
