// SPDX-License-Identifier: Apache-2.0

// The contract in JavaScript, by grpc-js. What the models do: ../README.md.
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const port = process.argv[2];
const {inference} = grpc.loadPackageDefinition(loader.loadSync(`${__dirname}/proto/inference.proto`, {keepCase: true, defaults: true}));

// By the request's id: a promise that is kept when the slow call has ended.
const calls = new Map();
const ended = id => {
  if (!calls.has(id)) {
    let end;
    calls.set(id, Object.assign(new Promise(resolve => { end = resolve; }), {end}));
  }
  return calls.get(id);
};

const echo = (request, output = request.input) =>
    ({output, shape: request.shape, text: request.text, model: 'echo', id: request.id});

// Fields of bytes on the wire: grpc-js has no google.rpc types.
const varint = n => n < 128 ? [n] : [n & 127 | 128, ...varint(n >> 7)];
const field = (number, bytes) => {
  const body = Buffer.from(bytes);
  return Buffer.concat([Buffer.from([number << 3 | 2, ...varint(body.length)]), body]);
};
const join = (...fields) => Buffer.concat(fields);
const detail = (name, bytes) => field(3, join(field(1, `type.googleapis.com/google.rpc.${name}`), field(2, bytes)));

const failure = text => {
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', join(
      Buffer.from([8, grpc.status.INVALID_ARGUMENT]), field(2, text),
      detail('BadRequest', field(1, join(field(1, 'text'), field(2, 'asks for a failure')))),
      detail('ErrorInfo', join(field(1, 'ASKED'), field(2, 'inference'), field(3, join(field(1, 'by'), field(2, 'node'))))),
      detail('RetryInfo', field(1, Buffer.from([8, 1, 16, ...varint(500e6)])))));
  return {code: grpc.status.INVALID_ARGUMENT, details: text, metadata};
};

const answer = async (request, call, send) => {
  if (request.model === 'fail') throw failure(request.text);
  if (request.model === 'gzip') throw {code: grpc.status.UNIMPLEMENTED, details: 'grpc-js compresses no answers'};
  if (request.model === 'slow') {
    const left = (call.getDeadline() - Date.now()) / 1000;
    send(echo(request, [left === Infinity ? -1 : left]));
    if (!call.cancelled) await new Promise(resolve => call.once('cancelled', resolve));
    return ended(request.id).end();
  }
  if (request.model === 'seen') await ended(request.text);
  send(echo(request));
};
const one = async (request, call, done) => {
  let reply;
  await answer(request, call, made => { reply = made; }).then(() => done(null, reply), done);
};

const server = new grpc.Server({'grpc.max_receive_message_length': 64 << 20});
server.addService(inference.Inference.service, {
  RunInference: (call, done) => one(call.request, call, done),
  StreamInference: async call => {
    const send = made => call.write(made);
    for (const number of call.request.input) send(echo(call.request, [number]));
    await answer(call.request, call, send).then(() => call.end(), error => call.emit('error', error));
  },
  UploadInference: async (call, done) => {
    const merged = {input: []};
    for await (const {input, ...rest} of call) Object.assign(merged, rest, {input: merged.input.concat(input)});
    await one(merged, call, done);
  },
  Converse: call => {
    let last = Promise.resolve();  // answers in order; no async iterator, which would destroy the stream at its end
    call.on('data', request => {
      last = last.then(() => answer(request, call, made => call.write(made)));
      last.catch(error => call.emit('error', error));
    });
    call.on('end', () => last.then(() => call.end(), () => {}));
  },
});
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) => {
  if (error) throw error;
  console.log(`127.0.0.1:${bound}`);
});
process.on('SIGTERM', () => server.tryShutdown(() => process.exit()));
