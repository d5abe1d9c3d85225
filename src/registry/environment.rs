//! What the environment says of networks: where the hub is, who may be asked and trusted, and through which proxy.
//!
//! The variables are those that huggingface_hub, requests, curl and OpenSSL read. They are read once; secrets in them
//! appear in no message and no log.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::PathBuf;

/// What stands for yes, in any case, as in huggingface_hub.
const YES: [&str; 4] = ["1", "on", "yes", "true"];

/// The bundles of certificates, of which each replaces the system's store.
const BUNDLES: [&str; 4] =
    ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Variables by name, without surrounding blanks; empty ones count as absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

/// Names only: values may be tokens and passwords.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let trimmed = variables.into_iter().map(|(name, value)| (name, value.trim().to_owned()));
        Self(trimmed.filter(|(_, value)| !value.is_empty()).collect())
    }
}

/// A variable that is set.
#[derive(Clone, Copy)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

impl Environment {
    /// The variables of this process; those that are no Unicode text count as absent.
    pub fn of_process() -> Self {
        let text = |(name, value): (_, std::ffi::OsString)| {
            Some((std::ffi::OsString::into_string(name).ok()?, value.into_string().ok()?))
        };
        env::vars_os().filter_map(text).collect()
    }

    /// The first of these variables that is set.
    pub(super) fn first<'a>(&'a self, names: &[&'a str]) -> Option<Variable<'a>> {
        names.iter().find_map(|name| {
            let value = self.0.get(*name)?.as_str();
            Some(Variable { name, value })
        })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(PathBuf::from)
    }

    /// The variable that forbids the network, if one does.
    pub(super) fn offline(&self) -> Option<Variable<'_>> {
        let asked = self.first(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])?;
        YES.contains(&asked.value.to_ascii_lowercase().as_str()).then_some(asked)
    }

    /// Where other programs keep what they fetched from the hub; the home directory's is the last resort.
    pub(super) fn hub_cache(&self, home: Option<PathBuf>) -> Option<PathBuf> {
        let below = |home: PathBuf| home.join("hub");
        self.path("HF_HUB_CACHE")
            .or_else(|| self.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| self.path("HF_HOME").map(below))
            .or_else(|| self.path("XDG_CACHE_HOME").map(|home| below(home.join("huggingface"))))
            .or_else(|| home.map(|home| below(home.join(".cache/huggingface"))))
    }

    /// The file in which `hf auth login` keeps the token; beside the cache by default.
    pub(super) fn token_file(&self) -> Option<PathBuf> {
        self.path("HF_TOKEN_PATH")
    }

    /// The bundles of certificates that were named.
    pub(super) fn bundles(&self) -> impl Iterator<Item = Variable<'_>> {
        BUNDLES.iter().filter_map(|name| self.first(&[*name]))
    }

    /// What pip needs beside its own environment: older versions do not read the variables of OpenSSL.
    pub(super) fn pip_bundle(&self) -> Option<&str> {
        let pip_knows = self.first(&["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]);
        match pip_knows {
            Some(_) => None,
            None => self.first(&["SSL_CERT_FILE"]).map(|bundle| bundle.value),
        }
    }

    /// The proxy for addresses of this scheme. Lower case wins, as in curl and in Python.
    pub(super) fn proxy(&self, scheme: &str) -> Option<Variable<'_>> {
        match scheme {
            "http" => self.first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            _ => self.first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        }
    }

    /// The hosts that are asked directly: each with those below it, as in curl and in Python.
    pub(super) fn no_proxy(&self) -> Vec<String> {
        let list = self.first(&["no_proxy", "NO_PROXY"]).map_or("", |variable| variable.value);
        let hosts = list.split([',', ' ', '\t']).filter(|host| !host.is_empty());
        hosts.flat_map(with_those_below).collect()
    }
}

/// `example.com`, `.example.com` and `*.example.com:8080` → `example.com` and `.example.com`.
fn with_those_below(host: &str) -> Vec<String> {
    if host == "*" {
        return vec![host.to_owned()];
    }
    let host = host.trim_start_matches('*').trim_start_matches('.');
    let host = match host.rsplit_once(':') {
        // More colons are an IPv6 address.
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name,
        _ => host.trim_matches(['[', ']']),
    };
    vec![host.to_owned(), format!(".{host}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_is_what_the_hub_s_own_library_takes_for_yes() {
        let name = |variables: Environment| variables.offline().map(|found| found.name.to_owned());
        for yes in ["1", "true", "TRUE", "True", "yes", "Yes", "on", "ON", " 1\n"] {
            let found = name([("HF_HUB_OFFLINE", yes)].into());
            assert_eq!(found.as_deref(), Some("HF_HUB_OFFLINE"), "{yes:?}");
        }
        for no in ["", "0", "false", "no", "off", "2", "offline"] {
            assert_eq!(name([("HF_HUB_OFFLINE", no)].into()), None, "{no:?}");
        }
        let both = [("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")];
        assert_eq!(name(both.into()), None, "the hub's own variable wins");
        let other = name([("TRANSFORMERS_OFFLINE", "1")].into());
        assert_eq!(other.as_deref(), Some("TRANSFORMERS_OFFLINE"));
    }

    #[test]
    fn the_proxy_is_that_of_the_scheme_and_lower_case_wins() {
        let all = Environment::from([
            ("HTTPS_PROXY", "upper"),
            ("https_proxy", "lower"),
            ("HTTP_PROXY", "plain"),
            ("ALL_PROXY", "all"),
        ]);
        assert_eq!(all.proxy("https").unwrap().value, "lower");
        assert_eq!(all.proxy("http").unwrap().value, "plain");
        let only = Environment::from([("ALL_PROXY", "all"), ("HTTPS_PROXY", "")]);
        assert_eq!(only.proxy("https").unwrap().name, "ALL_PROXY");
        assert!(Environment::default().proxy("https").is_none());
    }

    #[test]
    fn hosts_without_a_proxy_stand_for_those_below_them() {
        for (list, expected) in [
            ("example.com", &["example.com", ".example.com"][..]),
            (".example.com", &["example.com", ".example.com"]),
            ("*.example.com", &["example.com", ".example.com"]),
            ("a.b:8080", &["a.b", ".a.b"]),
            ("*", &["*"]),
            ("a, b c,,", &["a", ".a", "b", ".b", "c", ".c"]),
            ("[::1]", &["::1", ".::1"]),
            ("", &[]),
        ] {
            assert_eq!(Environment::from([("NO_PROXY", list)]).no_proxy(), expected, "{list}");
        }
    }

    #[test]
    fn pip_is_told_of_a_bundle_that_it_would_not_find() {
        let bundle = |variables: Environment| variables.pip_bundle().map(str::to_owned);
        assert_eq!(bundle([("SSL_CERT_FILE", "a.pem")].into()).as_deref(), Some("a.pem"));
        for own in ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            assert_eq!(bundle([("SSL_CERT_FILE", "a.pem"), (own, "b.pem")].into()), None, "{own}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Environment::from([("HF_TOKEN", "hf_secret")]));
        assert_eq!(shown, r#"{"HF_TOKEN"}"#);
    }
}
