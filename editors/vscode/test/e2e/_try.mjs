import { Workbench, until } from './workbench.mjs';
import { mkdirSync, writeFileSync, rmSync, copyFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
const f='/tmp/vsx/try'; rmSync(f,{recursive:true,force:true}); mkdirSync(f+'/ws',{recursive:true});
copyFileSync('/work/wt/vscode/tests/fixtures/find_user.py', f+'/ws/find_user.py');
writeFileSync(f+'/ws/settings.py', `"""Settings of the shop."""

import json
import os


class Settings:
    """The settings, read from a file and written back."""

    def __init__(self, path):
        self.path = path
        self.values = {}

    def load(self):
        """Read the file, if it is there, and check every value."""
`);
execFileSync('node',['../../../node_modules/@vscode/vsce/vsce','package','--no-dependencies','--allow-missing-repository','--skip-license','--out',f+'/probe.vsix'],{cwd:'/work/wt/vscode/editors/vscode/test/e2e/probe',stdio:'ignore'});
const w=new Workbench({folder:f,codeServer:'/work/tools/cs',browser:'/usr/bin/chromium',settings:{'cosec-ls.profile':process.env.PROFILE??'small',...(process.env.PROXY?{'cosec-ls.server.path':'/tmp/vsx/proxy.py'}:{})}});
let t=Date.now(); const lap=(...m)=>{console.log(...m,Date.now()-t);t=Date.now()};
const sleep=(ms)=>new Promise(r=>setTimeout(r,ms));
try {
 w.install(process.argv[2]);w.install(f+'/probe.vsix'); lap('install');
 await w.start(); lap('start');
 await w.open(f+'/ws'); lap('open');
 console.log(await until('status',async()=>await w.statusText(),30)); lap('status');
 const mod=await import(process.argv[3]); await mod.default(w,{lap,sleep,until,f});
} catch(e){ console.log(e); await w.page?.screenshot({path:f+'/e.png'}); console.log(await w.statusText(), await w.statusLabel(), await w.notifications());
} finally { await w.stop(); }
