// Node's own HTTP/2 server as the backend, and its clients of HTTP/2 and HTTP/1 in front of the balancer: 103, and 100
// for who waits for it. Arguments: the balancer's port, the backend's.
const assert = require("node:assert");
const http = require("node:http");
const http2 = require("node:http2");
const { once } = require("node:events");

const [balancer, port] = process.argv.slice(2).map(Number);
const LINK = "</style.css>; rel=preload";

async function serve() {
  const server = http2.createServer();
  server.on("request", (request, response) => {
    response.writeEarlyHints({ link: LINK });
    response.end("hinted");
  });
  server.on("checkContinue", async (request, response) => {
    response.writeContinue();
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    response.end(Buffer.concat(pieces));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

// The backend is there a moment before the balancer knows.
async function until(ask) {
  for (let left = 100; ; left--) {
    try {
      return await ask();
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function read(stream) {
  let text = "";
  for await (const piece of stream.setEncoding("utf8")) text += piece;
  return text;
}

async function overHttp2() {
  const session = http2.connect(`http://127.0.0.1:${balancer}`);
  const stream = session.request({ ":path": "/x" });
  const hints = [];
  stream.on("headers", (headers) => hints.push(headers));
  const [answer] = await once(stream, "response");
  const body = await read(stream);
  session.close();
  assert.equal(answer[":status"], 200);
  assert.equal(body, "hinted");
  assert.deepEqual(hints.map((hint) => [hint[":status"], hint.link]), [[103, LINK]]);
}

async function overHttp1() {
  const request = http.get({ host: "127.0.0.1", port: balancer, path: "/x" });
  const hints = [];
  request.on("information", (hint) => hints.push([hint.statusCode, hint.headers.link]));
  const [answer] = await once(request, "response");
  assert.equal(answer.statusCode, 200);
  assert.equal(await read(answer), "hinted");
  assert.deepEqual(hints, [[103, LINK]]);
}

async function waitingFor100() {
  const headers = { expect: "100-continue", "content-length": 4 };
  const request = http.request({ host: "127.0.0.1", port: balancer, path: "/x", method: "PUT", headers });
  request.flushHeaders();
  // It sends nothing before.
  await once(request, "continue");
  request.end("body");
  const [answer] = await once(request, "response");
  assert.equal(await read(answer), "body");
}

async function main() {
  await serve();
  await until(overHttp2);
  await overHttp1();
  await waitingFor100();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
