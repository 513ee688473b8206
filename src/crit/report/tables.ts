/** Tables of what is open: one for each task, and those of the whole tree, where one sees who shares what. */
import { plural } from '../describe-file.ts';
import type { DescriptorPicture, OpenFilePicture, Picture } from '../picture.ts';
import { type Html, html } from './html.ts';

export function descriptorTable(descriptors: readonly DescriptorPicture[]): Html {
  const rows = descriptors.map(
    ({ fd, closesOnExec, file }) => html`<tr><td class="number">${fd}</td><td>${file.kind}</td>
<td class="text">${file.name}</td><td class="soft">${file.detail}${closesOnExec ? html` <span class="badge">closes on exec</span>` : undefined}</td></tr>`,
  );
  return html`<details><summary>${plural(descriptors.length, 'descriptor')}</summary><div class="scroll"><table class="descriptors">
<tr><th class="number">fd</th><th>Kind</th><th>Name</th><th></th></tr>${rows}</table></div></details>`;
}

/** Files, terminals and the like. */
export function fileTable({ openFiles }: Picture): Html | undefined {
  const files = openFiles.filter(({ file }) => file.group !== 'socket' && file.group !== 'pipe');
  if (files.length === 0) return undefined;
  return html`<h2 id="files">Files</h2><div class="card scroll"><table class="files">
<tr><th class="number">Number</th><th>Kind</th><th>Name</th><th></th><th>Open in</th></tr>${files.map(fileRow)}</table></div>`;
}

/** What connects tasks with each other and with the outside. */
export function connectionTable({ openFiles }: Picture): Html | undefined {
  const sockets = openFiles.filter(({ file }) => file.group === 'socket');
  const pipes = openFiles.filter(({ file }) => file.group === 'pipe');
  if (sockets.length + pipes.length === 0) return undefined;
  const inOrder = pipes.toSorted((a, b) =>
    a.file.name < b.file.name ? -1 : a.file.name > b.file.name ? 1 : a.id - b.id,
  );
  return html`<h2 id="sockets">Sockets and pipes</h2><div class="card scroll"><table class="sockets">
<tr><th class="number">Number</th><th>Kind</th><th>Name</th><th></th><th>Open in</th></tr>${[...sockets, ...inOrder].map(fileRow)}</table></div>`;
}

function fileRow({ id, file, users }: OpenFilePicture): Html {
  return html`<tr><td class="number">${id}</td><td>${file.kind}</td><td class="text">${file.name}</td>
<td class="soft">${file.detail}</td><td>${userLinks(users)}</td></tr>`;
}

/** So many are named; a shared terminal may be open in hundreds of tasks. */
const USERS_MAX = 12;

function userLinks(users: OpenFilePicture['users']): Html {
  if (users.length === 0) return html`<span class="soft">mapped or a folder</span>`;
  const links = users.slice(0, USERS_MAX).map(({ pid, fd }) => html` <a href="#task-${pid}">${pid}</a>:${fd}`);
  return html`${links}${users.length > USERS_MAX ? ` and ${users.length - USERS_MAX} more` : undefined}`;
}
