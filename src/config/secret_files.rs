//! Files that hold secrets: never completed, never prompted from, unless the user says otherwise.
//!
//! One row per kind of file, with a path that the row is for; the tests of `complete/file_rules.rs` try every row on its
//! own, and a list of paths that no row may match. Compared with the signatures of the secret scanners gitrob
//! (`core/signatures.go`) and shhgit, with Continue's `core/indexing/ignore.ts` (`DEFAULT_SECURITY_IGNORE_FILETYPES` and
//! `_DIRS`), with Zed's `disabled_globs`, and with what Cursor ignores by default.
//!
//! Left out on purpose, for they are written by hand all day and seldom hold a secret: `config.json`, `settings.json` and
//! `settings.py`, folders named `private`, `keys` or `env`, logs, and source code whatever it is called (`secrets.rs`). A
//! private key in any of them is found by its text (`text/private_key.rs`).

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Files of this name, in any folder.
    File(&'static str),
    /// All that is below folders of this name, in any folder.
    Folder(&'static str),
    /// Documents of this language id, whatever they are called.
    Language(&'static str),
    /// Files of this name that the rows above would take for secret, and that are not.
    Open(&'static str),
}

/// A kind of secret file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Which files, as globs.
    pub what: Secret,
    /// One of them: a path, or a language id.
    pub example: &'static str,
}

impl SecretFile {
    /// The row as a user would write it in `excludedFiles`.
    pub fn pattern(&self) -> String {
        match self.what {
            Secret::File(name) => format!("**/{name}"),
            Secret::Folder(name) => format!("**/{name}/**"),
            Secret::Language(id) => format!("{LANGUAGE}{id}"),
            Secret::Open(name) => format!("!**/{name}"),
        }
    }
}

/// What a pattern about a language id begins with.
pub const LANGUAGE: &str = "language:";

/// The default patterns; of those that match a file, the last one counts. Letters' case makes no difference.
pub const SECRET_FILES: [SecretFile; 111] = [
    // Environments: files of variables, by whatever suffix. Templates (`.env.example`) too: they hold no secrets as they are
    // meant, but people try values in them, and every assistant leaves them alone; `"!**/.env.example"` takes them back.
    file("*.env", "prod.env"),
    file(
        "*.env.{local,dev,development,prod,production,stage,staging,test,testing,ci,qa,uat,bak,old,example,sample}",
        "web.env.production",
    ),
    file(".env*", ".env.local"),
    file(".dev.vars*", ".dev.vars"),
    file(".flaskenv", ".flaskenv"),
    language("dotenv", "dotenv"),
    language("terraform-vars", "terraform-vars"),
    language("netrc", "netrc"),
    language("pem", "pem"),
    // Keys and certificates.
    file("*.{pem,key,p8,p12,pfx,pkcs12,der,pvk,snk}", "server.key"),
    file("*.{crt,cert,cer}", "server.crt"),
    file("*.{gpg,pgp,asc,age}", "backup.gpg"),
    file("*.{jks,jceks,bks,keystore,truststore}", "release.keystore"),
    file("*.{ppk,keytab,ovpn}", "office.ovpn"),
    file("*.{keypair,privkey,private_key}", "otr.private_key"),
    file("*.{mobileprovision,provisionprofile}", "app.mobileprovision"),
    file("{id_rsa,id_dsa,id_ecdsa,id_ecdsa_sk,id_ed25519,id_ed25519_sk,id_xmss}", "id_ed25519"),
    file("{id_rsa,id_dsa,id_ecdsa,id_ed25519}{-,_,.}*", "id_rsa.old"),
    file("*_{rsa,dsa,ecdsa,ed25519}", "deploy_rsa"),
    file("ssh_host_*_key", "ssh_host_ed25519_key"),
    open("*.pub", "id_rsa.pub"),
    file("wg[0-9]*.conf", "wg0.conf"),
    file("wireguard/*.conf", "wireguard/home.conf"),
    file("{key,keystore,signing}.properties", "keystore.properties"),
    folder(".ssh", ".ssh/config"),
    folder(".{gnupg,gpg}", ".gnupg/gpg.conf"),
    folder(".putty", ".putty/sessions/x"),
    folder(".{sops,age}", ".age/keys.txt"),
    folder(".config/{sops,age}", ".config/sops/age/keys.txt"),
    // Wallets and password managers.
    file("*.{kdb,kdbx,psafe3,1pux,wallet,kwallet,keychain,keychain-db}", "me.kdbx"),
    file("wallet.dat", "wallet.dat"),
    file("UTC--*", "UTC--2024-01-01T00-00-00Z--ab"),
    folder(".password-store", ".password-store/bank.gpg"),
    folder("*.{agilekeychain,opvault}", "me.opvault/default/band_0.js"),
    folder("{keyrings,Keychains}", ".local/share/keyrings/login.keyring"),
    folder(".config/{op,keybase,Bitwarden*}", ".config/op/config"),
    // Names and passwords for programs that log in.
    file("{.,_}netrc*", "_netrc"),
    file(".authinfo*", ".authinfo"),
    file("{.pgpass,pgpass.conf}", ".pgpass"),
    file("{.my,.mylogin}.cnf", ".my.cnf"),
    file(".git-credentials", ".git-credentials"),
    file("git/credentials", ".config/git/credentials"),
    file(".git/config", ".git/config"),
    file("{.,}ht{passwd,digest}*", ".htpasswd"),
    file("{shadow,gshadow,sudoers,master.passwd,opasswd}{,-}", "etc/shadow"),
    file("sudoers.d/*", "etc/sudoers.d/admin"),
    file("{.vault-token,.vault_pass*,vault_pass*,vault-password*}", ".vault_pass.txt"),
    file("{.smbcredentials,.smbpasswd,smbpasswd,.passwd-s3fs,proftpdpasswd}", ".smbcredentials"),
    file(
        ".{msmtprc,esmtprc,fetchmailrc,offlineimaprc,mbsyncrc,muttrc,mailrc,getmailrc}",
        ".msmtprc",
    ),
    file(".{rhosts,erlang.cookie,Xauthority,ICEauthority}", ".erlang.cookie"),
    file(
        "{.ftpconfig,.remote-sync.json,sftp-config.json,.ftppass,deployment-config.json}",
        "sftp-config.json",
    ),
    file(".vscode/{sftp,ftp-sync}.json", ".vscode/sftp.json"),
    file("{filezilla,recentservers,sitemanager}.xml", "sitemanager.xml"),
    file(
        "{dbeaver-data-sources.xml,.dbeaver-data-sources.xml,robomongo.json,credentials-config.json}",
        "robomongo.json",
    ),
    file("*.{rdp,bek,fve,publishsettings,pubxml.user,cscfg}", "desk.rdp"),
    folder(".{vnc,purple,irssi,chef,subversion}", ".purple/accounts.xml"),
    folder(".config/{hexchat,weechat,freerdp,remmina}", ".config/weechat/sec.conf"),
    // Registries of packages.
    file(".npmrc", ".npmrc"),
    file(".yarnrc{,.yml}", ".yarnrc.yml"),
    file("{.pypirc,pip.conf,pip.ini}", ".pypirc"),
    file(".gem/credentials", ".gem/credentials"),
    file(".bundle/config", ".bundle/config"),
    file(".cargo/credentials{,.toml}", ".cargo/credentials.toml"),
    file(".m2/settings*.xml", ".m2/settings.xml"),
    file(".gradle/gradle.properties", ".gradle/gradle.properties"),
    file(".nuget/NuGet/NuGet.Config", ".nuget/NuGet/NuGet.Config"),
    file("{auth.json,.condarc,.dockercfg,.dockerconfigjson}", ".dockercfg"),
    file(".cabal/config", ".cabal/config"),
    file(".hex/hex.config", ".hex/hex.config"),
    // Clouds, clusters and the tools for them.
    folder(".{aws,azure,gcp,oci,aliyun,tccli,bluemix}", ".aws/credentials"),
    folder(
        ".{kube,docker,vault,terraform.d,cloudflared,fly,mc,databricks,snowflake,snowsql}",
        ".kube/config",
    ),
    folder(".{kaggle,huggingface,streamlit}", ".kaggle/kaggle.json"),
    folder(
        ".config/{gcloud,gh,hub,glab-cli,doctl,hcloud,rclone,stripe,github-copilot,containers,helm}",
        ".config/gh/hosts.yml",
    ),
    folder("AppData/Roaming/{gcloud,GitHub*CLI}", "AppData/Roaming/gcloud/credentials.db"),
    file("{kubeconfig*,*.kubeconfig,k3s.yaml}", "kubeconfig"),
    file(
        "kubernetes/{admin,super-admin,controller-manager,scheduler,kubelet}.conf",
        "etc/kubernetes/admin.conf",
    ),
    file("*.tfvars{,.json}", "terraform.tfvars"),
    file("*.tfstate{,.*}", "terraform.tfstate.backup"),
    file("{.terraformrc,terraform.rc,credentials.tfrc.json}", ".terraformrc"),
    file("{.s3cfg,.boto,rclone.conf,.rclone.conf,.databrickscfg,.snowsqlrc}", ".s3cfg"),
    file("{clouds.yaml,secure.yaml,*openrc.sh,keystonerc*}", "clouds.yaml"),
    file(".dbt/profiles.yml", ".dbt/profiles.yml"),
    file("huggingface/token", ".cache/huggingface/token"),
    // What applications call their secrets.
    file("credentials", "credentials"),
    file(
        "{,.}credentials.{json,yml,yaml,toml,ini,xml,csv,cfg,conf,properties,txt,db}*",
        "credentials.json",
    ),
    file(
        "*{-,_,.}credentials.{json,yml,yaml,toml,ini,xml,csv,db,yml.enc}",
        "application_default_credentials.json",
    ),
    file("*service{-,_,}account*.json", "service-account-prod.json"),
    file(
        "{client_secret*,*firebase-adminsdk*,google-services,token}.json",
        "client_secret_1.apps.json",
    ),
    file("GoogleService-Info.plist", "GoogleService-Info.plist"),
    file("{,.}secret{,s}", ".secrets"),
    file(
        "{,.}secret{,s}.{yml,yaml,toml,json,jsonc,json5,env,ini,cfg,conf,properties,xml,txt,enc,tf}*",
        "secrets.yaml",
    ),
    file("*{-,_,.}secret{,s}.{yml,yaml,toml,json,ini,properties,txt}", "db-secret.yaml"),
    file("*.{secret,secrets,token}", "api.token"),
    file("secrets/*.{txt,json,yml,yaml,toml,ini,properties}", "secrets/db_password.txt"),
    file("run/secrets/*", "run/secrets/db"),
    folder(".{secret,secrets,private}", ".secrets/db"),
    file("secret_token.rb", "config/initializers/secret_token.rb"),
    file("credentials/*.yml.enc", "config/credentials/production.yml.enc"),
    file("database.yml", "config/database.yml"),
    file("{wp-config.php,wp-config-*.php,LocalSettings.php}", "wp-config.php"),
    file("local.settings.json", "local.settings.json"),
    file("appsettings.*.json", "appsettings.Production.json"),
    file("{,.}pass{word,wd}s.{txt,csv,json,yml,yaml}", "passwords.txt"),
    file("{ventrilo_srv.ini,hudson.util.Secret}", "hudson.util.Secret"),
    // Histories: what was typed, passwords among it.
    file(".*_history*", ".zsh_history"),
    file("{.history,.lesshst,.dbshell,.viminfo,.python-history}", ".lesshst"),
    file("{fish_history,ConsoleHost_history.txt}", "ConsoleHost_history.txt"),
    // Browsers.
    file("{logins*.json,key3.db,key4.db,signons.sqlite,cookies.sqlite,cert9.db}", "logins.json"),
    file("{Login Data*,Web Data*,Cookies,Cookies.binarycookies}", "Login Data"),
    folder(".{mozilla,thunderbird}", ".mozilla/firefox/x/prefs.js"),
    folder(
        "{google-chrome,.config/chromium,Google/Chrome/User Data,BraveSoftware}",
        ".config/google-chrome/Default/Preferences",
    ),
];

const fn file(name: &'static str, example: &'static str) -> SecretFile {
    SecretFile { what: Secret::File(name), example }
}

const fn folder(name: &'static str, example: &'static str) -> SecretFile {
    SecretFile { what: Secret::Folder(name), example }
}

const fn language(id: &'static str, example: &'static str) -> SecretFile {
    SecretFile { what: Secret::Language(id), example }
}

const fn open(name: &'static str, example: &'static str) -> SecretFile {
    SecretFile { what: Secret::Open(name), example }
}
