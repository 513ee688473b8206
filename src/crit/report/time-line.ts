/** What the statistics say about a dump and a restore, as bars to scale. */
import { plural } from '../describe-file.ts';
import type { Picture } from '../picture.ts';
import { type Html, html } from './html.ts';
import { percent } from './memory.ts';

interface Part {
  readonly colour: string;
  readonly name: string;
  readonly us: number;
}

export function timeLine({ dumpStats, restoreStats }: Picture): Html | undefined {
  if (dumpStats === undefined && restoreStats === undefined) return undefined;
  return html`<h2 id="time">Time line</h2>
${dumpStats === undefined ? undefined : dumpBar(dumpStats)}
${restoreStats === undefined ? undefined : restoreBar(restoreStats)}`;
}

/** Copying and writing memory are parts of the time in which the tasks were frozen. */
function dumpBar(stats: NonNullable<Picture['dumpStats']>): Html {
  const { freezing_time, frozen_time, memdump_time, memwrite_time } = stats;
  const parts: Part[] = [
    { colour: 'freeze', name: 'stopping the tasks', us: freezing_time },
    { colour: 'copy', name: 'copying memory', us: memdump_time },
    { colour: 'write', name: 'writing memory', us: memwrite_time },
    { colour: 'rest', name: 'everything else', us: Math.max(0, frozen_time - memdump_time - memwrite_time) },
  ];
  const pages = [
    `${plural(stats.pages_scanned, 'page')} looked at`,
    `${stats.pages_written} written`,
    ...(stats.pages_skipped_parent > 0 ? [`${stats.pages_skipped_parent} in parent folders`] : []),
    ...(stats.pages_lazy > 0 ? [`${stats.pages_lazy} of them may be restored later, when they are touched`] : []),
    ...((stats.shpages_written ?? 0) > 0 ? [`${stats.shpages_written} of shared memory written`] : []),
  ];
  return bar('Dump', `the tasks were frozen for ${timeText(frozen_time)}; ${pages.join(', ')}`, parts);
}

function restoreBar(stats: NonNullable<Picture['restoreStats']>): Html {
  const { forking_time, restore_time } = stats;
  const parts: Part[] = [
    { colour: 'fork', name: 'creating the tasks', us: forking_time },
    { colour: 'rest', name: 'restoring their state', us: Math.max(0, restore_time - forking_time) },
  ];
  const written = stats.pages_restored ?? 0;
  const pages = `${plural(written, 'page')} restored, ${stats.pages_skipped_cow} shared with a parent`;
  return bar('Restore', `${timeText(restore_time)} in all; ${pages}`, parts);
}

function bar(title: string, text: string, parts: readonly Part[]): Html {
  const whole = parts.reduce((sum, { us }) => sum + us, 0);
  const shown = parts.filter(({ us }) => us > 0);
  return html`<div class="card task"><h3>${title}</h3><p class="soft">${text}</p>
<div class="time">${shown.map(
    ({ colour, name, us }) =>
      html`<i class="${colour}" style="width:${percent(us, whole)}" title="${`${name}: ${timeText(us)}`}"></i>`,
  )}</div>
<ul class="legend" style="margin:12px 0 0">${shown.map(
    ({ colour, name, us }) => html`<li><i class="${colour}"></i>${name}, ${timeText(us)}</li>`,
  )}</ul></div>`;
}

/** Microseconds in a unit that fits. */
function timeText(us: number): string {
  if (us < 1_000_000) return `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}
