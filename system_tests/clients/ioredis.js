// What an ordinary ioredis user does, against the cache at the port given.
const assert = require("node:assert");
const Redis = require("ioredis");

async function main() {
  const client = new Redis(Number(process.argv[2]), { lazyConnect: true, maxRetriesPerRequest: 1 });
  await client.connect();
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.set("js:a", "1", "EX", 60), "OK");
  assert.equal(await client.get("js:a"), "1");
  assert.equal(await client.set("js:a", "2", "NX"), null);
  assert.deepEqual(await client.mget("js:a", "js:none"), ["1", null]);
  assert.equal(await client.incrby("js:n", 5), 5);
  const results = await client.pipeline().set("js:p", "x").get("js:p").ttl("js:p").exec();
  assert.deepEqual(results, [[null, "OK"], [null, "x"], [null, -1]]);
  const [, keys] = await client.scan(0, "MATCH", "js:*", "COUNT", 1000);
  assert.deepEqual(keys.sort(), ["js:a", "js:n", "js:p"]);
  assert.deepEqual(await client.getBuffer("js:a"), Buffer.from("1"));
  await assert.rejects(client.lpush("js:list", 1), /unknown command/);
  assert.equal(await client.del("js:a", "js:n", "js:p"), 3);
  await client.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
