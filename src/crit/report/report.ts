/**
 * `crit report DIR`: a folder of images as one HTML page, with everything in it: process tree, memory to scale, files,
 * sockets, time line. It has no scripts, and its policy forbids them as well as all that comes from elsewhere.
 */
import { byteText, plural } from '../describe-file.ts';
import type { ImageFolder } from '../image-folder.ts';
import { drawPicture, memorySum, type Picture, type TaskPicture } from '../picture.ts';
import type { Verdict } from '../verify.ts';
import { Html, html } from './html.ts';
import { legend, memoryStrips, memoryTable, savedBar } from './memory.ts';
import { STYLE } from './style.ts';
import { connectionTable, descriptorTable, fileTable } from './tables.ts';
import { timeLine } from './time-line.ts';

export interface ReportInput {
  readonly folder: ImageFolder;
  /** Path of the folder, for the title. */
  readonly path: string;
  readonly verdict: Verdict;
}

/** The page, as Unicode text. */
export function drawReport({ folder, path, verdict }: ReportInput): string {
  const picture = drawPicture(folder);
  const title = `Checkpoint of ${picture.roots[0]?.name ?? path}`;
  const times = timeLine(picture);
  const files = fileTable(picture);
  const connections = connectionTable(picture);
  const page = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${styleSheet}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p class="where">${path}</p>
${facts(picture, verdict)}
${problems(verdict)}
<nav><a href="#processes">Processes</a>${times === undefined ? undefined : html`<a href="#time">Time line</a>`}<a href="#memory">Tasks and memory</a>${
    files === undefined ? undefined : html`<a href="#files">Files</a>`
  }${connections === undefined ? undefined : html`<a href="#sockets">Sockets and pipes</a>`}</nav>
</header>
<main>
${processes(picture)}
${times}
${tasks(picture)}
${files}
${connections}
</main>
<footer>Made by crit report from ${plural(verdict.images, 'image')}. Sizes of bars are to scale.</footer>
</body>
</html>
`;
  return page.text;
}

/** Written in this project, so it needs no escaping. */
const styleSheet = new Html(STYLE);

function facts(picture: Picture, verdict: Verdict): Html {
  const living = picture.tasks.filter(({ state }) => state !== 'dead');
  const threads = living.reduce((sum, task) => sum + task.threads.length, 0);
  const saved = picture.tasks.reduce((sum, { mappings }) => sum + memorySum(mappings).saved, 0);
  const sockets = picture.openFiles.filter(({ file }) => file.group === 'socket').length;
  const fact = (value: string | number, text: string): Html => html`<div class="card"><b>${value}</b>${text}</div>`;
  const dead = picture.tasks.length - living.length;
  return html`<div class="facts">
${fact(living.length, living.length === 1 ? 'process' : 'processes')}
${dead === 0 ? undefined : fact(dead, 'dead, not waited for')}
${fact(threads, threads === 1 ? 'thread' : 'threads')}
${fact(byteText(saved), 'private memory saved')}
${fact(picture.openFiles.length, 'open files')}
${fact(sockets, sockets === 1 ? 'socket' : 'sockets')}
${picture.hostName === undefined ? undefined : fact(picture.hostName, 'host name')}
${picture.hasEarlier ? fact('yes', 'builds on an earlier dump') : undefined}
${verdict.problems.length === 0 ? html`<div class="card"><b class="well">ok</b>checks of the images</div>` : undefined}
</div>`;
}

const PROBLEMS_MAX = 50;

function problems({ problems: list }: Verdict): Html | undefined {
  if (list.length === 0) return undefined;
  const left = list.length - PROBLEMS_MAX;
  return html`<div class="card problems"><h3>${plural(list.length, 'problem')}</h3>
<ul>${list.slice(0, PROBLEMS_MAX).map((problem) => html`<li>${problem}</li>`)}</ul>${
    left > 0 ? html`<p>and ${left} more, see crit verify</p>` : undefined
  }</div>`;
}

function processes(picture: Picture): Html {
  const most = Math.max(1, ...picture.tasks.map(({ mappings }) => memorySum(mappings).saved));
  return html`<h2 id="processes">Processes</h2><div class="card"><ul class="tree">${picture.roots.map((root) => branch(root, most))}</ul></div>`;
}

function branch(task: TaskPicture, most: number): Html {
  const { saved } = memorySum(task.mappings);
  const below = task.children.map((child) => branch(child, most));
  return html`<li><div class="leaf"><div>${heading(task)}</div>
<span class="size">${saved === 0 ? '' : byteText(saved)}</span>${savedBar(task.mappings, most)}</div>${
    below.length === 0 ? undefined : html`<ul>${below}</ul>`
  }</li>`;
}

function heading(task: TaskPicture): Html {
  const { pid, name, state, threads, user } = task;
  return html`<span class="pid">${pid}</span><a class="name" href="#task-${pid}">${name === '' ? '(unknown)' : name}</a>${
    state === 'running' ? undefined : html`<span class="badge ${state}">${state}</span>`
  }${threads.length > 1 && state !== 'dead' ? html`<span class="badge">${plural(threads.length, 'thread')}</span>` : undefined}${
    user === '' || user === 'root' ? undefined : html`<span class="badge">${user}</span>`
  }${task.sid === pid ? html`<span class="badge">session leader</span>` : undefined}`;
}

function tasks(picture: Picture): Html {
  return html`<h2 id="memory">Tasks and memory</h2>${legend()}${picture.tasks.map(taskCard)}`;
}

function taskCard(task: TaskPicture): Html {
  const { pid, pgid, sid, mappings, descriptors, sharesFilesWith, threads } = task;
  const row = (label: string, value: string | Html): Html => html`<dt>${label}</dt><dd>${value}</dd>`;
  const others = threads.filter(({ tid }) => tid !== pid);
  return html`<section class="card task" id="task-${pid}"><h3>${heading(task)}</h3>
${mappings.length === 0 ? undefined : memoryStrips(mappings)}
<dl>
${task.executable === '' ? undefined : row('program', task.executable)}
${task.command.length < 2 ? undefined : row('command', html`<code>${task.command.join(' ')}</code>`)}
${task.folder === '' ? undefined : row('folder', task.folder)}
${task.root === '' || task.root === '/' ? undefined : row('root', task.root)}
${row('group, session', `${pgid}, ${sid}`)}
${others.length === 0 ? undefined : row('threads', threadList(others))}
${sharesFilesWith === undefined ? undefined : row('files', html`the table of <a href="#task-${sharesFilesWith}">${sharesFilesWith}</a>`)}
</dl>
${mappings.length === 0 ? undefined : memoryTable(mappings)}
${descriptors.length === 0 || sharesFilesWith !== undefined ? undefined : descriptorTable(descriptors)}
</section>`;
}

const THREADS_MAX = 40;

function threadList(threads: TaskPicture['threads']): string {
  const shown = threads.slice(0, THREADS_MAX).map(({ tid, name }) => `${tid} ${name}`);
  const left = threads.length - shown.length;
  return left > 0 ? `${shown.join(', ')} and ${left} more` : shown.join(', ');
}
