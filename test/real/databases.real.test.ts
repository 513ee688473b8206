/** Databases, with data in memory and clients that stay connected. */
import { join } from 'node:path';
import { Conversation, realTest, startScript, travel, waitForText } from '../harness/real-program.ts';

realTest(
  'redis keeps its data and its clients',
  { 'redis-server': 'redis-server', 'redis-cli': 'redis-tools' },
  async (dir) => {
    const program = startScript(
      dir,
      `redis-server --port 7401 --bind 127.0.0.1 --unixsocket ${dir}/redis.sock --save '' &
     until redis-cli -s redis.sock ping; do sleep 0.1; done
     ${Conversation.script('tcp', 'redis-cli -p 7401')}
     ${Conversation.script('unix', 'redis-cli -s redis.sock')}
     wait`,
    );
    await waitForText(program, 'output', /PONG/);
    const tcp = new Conversation(program, 'tcp');
    const unix = new Conversation(program, 'unix');
    await tcp.ask('set fruit apple', /OK/);
    await unix.ask('client setname traveller', /OK/);
    for (const round of [1, 2]) {
      await travel(program, { dumpArgs: ['--tcp-established'], restoreArgs: ['--tcp-established'] });
      await tcp.ask('get fruit', /apple/);
      await tcp.ask('incr rounds', new RegExp(`^${round}$`, 'm'));
      await unix.ask('client getname', /traveller/);
    }
  },
);

realTest(
  'PostgreSQL keeps open sessions with their transactions',
  { initdb: 'postgresql', setpriv: 'util-linux' },
  async (dir) => {
    const asNobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups';
    const program = startScript(
      dir,
      `bin=$(dirname $(readlink -f $(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres | tail -n 1)))
     ${asNobody} $bin/initdb -D ${dir}/db -A trust -U nobody --no-sync > initdb.log 2>&1
     ${asNobody} $bin/postgres -D ${dir}/db -k ${dir} -c listen_addresses=127.0.0.1 -c port=7402 > server.log 2>&1 &
     until $bin/psql -h ${dir} -p 7402 -U nobody postgres -c 'select 1'; do sleep 0.3; done
     ${Conversation.script('first', `$bin/psql -h ${dir} -p 7402 -U nobody postgres`)}
     ${Conversation.script('second', `$bin/psql -h 127.0.0.1 -p 7402 -U nobody postgres`)}
     echo started
     wait`,
    );
    await waitForText(program, 'output', /started/);
    const first = new Conversation(program, 'first');
    const second = new Conversation(program, 'second');
    await second.ask('create table seen (n int); insert into seen values (41);', /INSERT/);
    await first.ask('begin; create temporary table mine as select 7 as n; update seen set n = n + 1;', /UPDATE 1/);
    await second.ask("prepare ask as select 'answer ' || n from seen;", /PREPARE/);
    for (let round = 1; round <= 2; round++) {
      await travel(program, { dumpArgs: ['--tcp-established'], restoreArgs: ['--tcp-established'] });
      await first.ask('select n from seen, pg_sleep(0.01);', new RegExp(` ${round + 41 - (round - 1)}\n`));
      await second.ask('execute ask;', /answer 41/);
    }
    await first.ask('commit;', /COMMIT/);
    await second.ask('execute ask;', /answer 42/);
  },
);

realTest(
  'MariaDB keeps its data and a session',
  { mariadbd: 'mariadb-server', 'mariadb-install-db': 'mariadb-server' },
  async (dir) => {
    const program = startScript(
      dir,
      `mariadb-install-db --no-defaults --user=root --datadir=${dir}/db --skip-test-db --auth-root-authentication-method=normal > install.log 2>&1
     mariadbd --no-defaults --user=root --datadir=${dir}/db --socket=${dir}/db.sock --skip-networking --innodb-use-native-aio=0 > server.log 2>&1 &
     until mariadb --no-defaults -S db.sock -e 'select 1'; do sleep 0.3; done
     ${Conversation.script('client', `mariadb --no-defaults -S ${dir}/db.sock -n --skip-reconnect`)}
     echo started
     wait`,
    );
    await waitForText(program, 'output', /started/);
    const client = new Conversation(program, 'client');
    await client.ask("set @me = 'traveller'; create database d; use d; create table t (n int); select 'made';", /made/);
    for (const round of [1, 2]) {
      await travel(program, { dumpArgs: ['--file-locks'], restoreArgs: ['--file-locks'] });
      await client.ask(
        `insert into t values (${round}); select concat(@me, count(*)) from t;`,
        new RegExp(`traveller${round}`),
      );
    }
  },
);

realTest('memcached keeps what it stores', { memcached: 'memcached' }, async (dir) => {
  const program = startScript(dir, `exec memcached -u root -p 7403 -l 127.0.0.1 -t 4`);
  const ask = async (text: string): Promise<string> => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const socket = await Bun.connect({
      hostname: '127.0.0.1',
      port: 7403,
      socket: { data: (_, data) => resolve(data.toString()), error: (_, error) => reject(error) },
    });
    socket.write(`${text}\r\n`);
    const answer = await promise;
    socket.write('quit\r\n');
    socket.end();
    return answer;
  };
  await retry(() => ask('set fruit 0 0 5\r\napple'));
  for (const round of [1, 2]) {
    // The connections of the tests are over, but the server may not have read their end yet.
    await Bun.sleep(200);
    await travel(program);
    const answer = await ask('get fruit');
    if (!answer.includes('apple')) throw new Error(`round ${round}: memcached said ${answer}`);
  }
});

/** Tries again until a server that starts can be reached. */
async function retry<T>(action: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await action();
    } catch (error) {
      if (tries > 200) throw error;
      await Bun.sleep(50);
    }
  }
}

realTest('sqlite3 keeps a transaction and its locks', { sqlite3: 'sqlite3' }, async (dir) => {
  const program = startScript(dir, `${Conversation.script('client', `sqlite3 ${join(dir, 'data.db')}`)} wait`);
  const client = new Conversation(program, 'client');
  await client.ask("create table t (n); begin; insert into t values (1); select 'made';", /made/);
  for (const round of [1, 2]) {
    await travel(program, { dumpArgs: ['--file-locks'], restoreArgs: ['--file-locks'] });
    await client.ask(`insert into t values (1); select 'rows ' || count(*) from t;`, new RegExp(`rows ${round + 1}`));
  }
  await client.ask("commit; select 'kept ' || count(*) from t;", /kept 3/);
});
