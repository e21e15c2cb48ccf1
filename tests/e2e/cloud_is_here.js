// Loaded before the official client: connections to the cloud's host go to this machine's CLOUD_PORT, as a hosts entry
// and a forwarded port would have it. Name and certificate are checked as ever.
'use strict';

const tls = require('tls');

const connect = tls.connect;
tls.connect = (options, ...rest) => {
    const cloud = options.host === 'aip.baidubce.com';
    return connect(cloud ? {...options, host: '127.0.0.1', port: Number(process.env.CLOUD_PORT)} : options, ...rest);
};
