/** Servers, used from outside before and after. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Conversation, realTest, startScript, travel, waitFor, waitForText } from '../harness/real-program.ts';

/** The text behind a URL, as soon as the server is there. A connection of its own each time, closed by the server. */
function get(url: string): Promise<string> {
  return waitFor(`an answer of ${url}`, async () => {
    try {
      const response = await fetch(url, { headers: { Connection: 'close' }, keepalive: false });
      return await response.text();
    } catch {
      return undefined;
    }
  });
}

async function expectText(url: string, wanted: string): Promise<void> {
  const text = await get(url);
  if (text.trim() !== wanted) throw new Error(`${url} says "${text}" instead of "${wanted}"`);
}

realTest('nginx with two workers serves on', { nginx: 'nginx-light' }, async (dir) => {
  mkdirSync(join(dir, 'www'));
  writeFileSync(join(dir, 'www', 'hello.txt'), 'hello');
  writeFileSync(
    join(dir, 'nginx.conf'),
    `daemon off; worker_processes 2; pid ${dir}/nginx.pid; error_log ${dir}/error.log; user root;
     events { worker_connections 64; }
     http { access_log ${dir}/access.log; client_body_temp_path ${dir}/t1; proxy_temp_path ${dir}/t2;
            fastcgi_temp_path ${dir}/t3; uwsgi_temp_path ${dir}/t4; scgi_temp_path ${dir}/t5;
            server { listen 127.0.0.1:7411; root ${dir}/www; } }`,
  );
  const program = startScript(dir, `exec nginx -p ${dir} -c ${dir}/nginx.conf`);
  await expectText('http://127.0.0.1:7411/hello.txt', 'hello');
  for (const round of [1, 2]) {
    await travel(program);
    await expectText('http://127.0.0.1:7411/hello.txt', 'hello');
    await waitForText(program, 'access.log', new RegExp(`(hello.txt[^]*){${round + 1}}`));
  }
});

realTest(
  'an OpenSSH session inside the tree goes on',
  { sshd: 'openssh-server', ssh: 'openssh-client' },
  async (dir) => {
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    const program = startScript(
      dir,
      `ssh-keygen -q -t ed25519 -N '' -f host_key; ssh-keygen -q -t ed25519 -N '' -f key; cp key.pub keys; chmod 755 .
     $(command -v sshd) -D -e -f /dev/null -h ${dir}/host_key -o Port=7412 -o ListenAddress=127.0.0.1 \\
       -o PidFile=none -o StrictModes=no -o AuthorizedKeysFile=${dir}/keys -o UsePAM=no -o PermitRootLogin=yes &
     until (echo > /dev/tcp/127.0.0.1/7412) 2> /dev/null || [ $((tries += 1)) -gt 20 ]; do sleep 0.1; done
     ${Conversation.script('session', `ssh -tt -F none -p 7412 -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 sh`)}
     wait`,
    );
    const session = new Conversation(program, 'session');
    await session.ask('word=traveller; echo ready:$word', /ready:traveller/);
    for (const round of [1, 2]) {
      await travel(program, { dumpArgs: ['--tcp-established'], restoreArgs: ['--tcp-established'] });
      await session.ask(`echo round${round}:$word`, new RegExp(`round${round}:traveller`));
    }
  },
);

realTest('the web server of PHP serves on', { php: 'php-cli' }, async (dir) => {
  writeFileSync(join(dir, 'index.php'), '<?php echo "pid ", getmypid();');
  const program = startScript(dir, 'exec php -S 127.0.0.1:7413');
  await expectText('http://127.0.0.1:7413/', `pid ${program.pid}`);
  for (let round = 1; round <= 2; round++) {
    await travel(program);
    await expectText('http://127.0.0.1:7413/', `pid ${program.pid}`);
  }
});
