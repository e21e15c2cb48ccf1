// Makes the calls that it reads as JSON from standard input with the official client, and prints the answers.
//
// {"base_url", "app_id", "api_key", "secret_key", "calls": [["detect", argument, ...], ...]}
'use strict';

const fs = require('fs');
const {face: AipFace, HttpClient} = require('baidu-aip-sdk');

const CLOUD = 'https://aip.baidubce.com';
const wanted = JSON.parse(fs.readFileSync(0, 'utf8'));

HttpClient.setRequestInterceptor(options => {
    options.url = options.url.replace(CLOUD, wanted.base_url);
    return options;
});

async function main() {
    const client = new AipFace(wanted.app_id, wanted.api_key, wanted.secret_key);
    const answers = [];
    for (const [name, ...parameters] of wanted.calls) {
        answers.push(await client[name](...parameters));
    }
    process.stdout.write(JSON.stringify(answers));
}

main().catch(error => {
    console.error(error);
    process.exitCode = 1;
});
