/** The look of the report. One sheet, without fonts or pictures from elsewhere; light or dark as the reader has it. */

export const STYLE = `
:root {
  --back: #f6f7f9; --card: #fff; --text: #1c2430; --soft: #5b6675; --line: #dfe3e8; --accent: #2f6fde; --bad: #c2362b;
  --code: #4472c4; --file: #93b7ea; --heap: #e8872e; --stack: #d9534f; --private: #4ca66b; --shared: #9a6fc0;
  --special: #98a1ad; --reserved: #d5dae1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14181f; --card: #1c222b; --text: #e6eaf0; --soft: #98a3b3; --line: #2e3744; --accent: #7aa7ff; --bad: #ff8177;
    --file: #6f93c7; --reserved: #39424f;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main, header { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; }
h2 { font-size: 19px; margin: 40px 0 12px; }
h3 { font-size: 16px; margin: 0; }
.soft, .where { color: var(--soft); }
.where { margin: 4px 0 20px; overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 12px 0; border-bottom: 1px solid var(--line); }
code, .mono { font-family: ui-monospace, "Liberation Mono", monospace; font-size: 13px; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin-bottom: 20px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; }
.facts .card { padding: 12px 16px; }
.facts b { display: block; font-size: 22px; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; }
.problems { border-color: var(--bad); margin-bottom: 20px; }
.problems h3 { color: var(--bad); }
.problems li { overflow-wrap: anywhere; }
.well { color: var(--private); font-weight: 600; }
ul.tree, ul.tree ul { list-style: none; margin: 0; padding: 0; }
ul.tree ul { margin-left: 9px; padding-left: 19px; border-left: 1px solid var(--line); }
ul.tree li { position: relative; }
ul.tree ul > li::before { content: ""; position: absolute; left: -19px; top: 17px; width: 13px; border-top: 1px solid var(--line); }
.leaf { display: grid; grid-template-columns: minmax(0, 1fr) 90px 180px; gap: 14px; align-items: center; padding: 5px 0; }
.leaf .size { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.name { font-weight: 600; }
.pid { color: var(--soft); font-variant-numeric: tabular-nums; margin-right: 6px; }
.badge { display: inline-block; font-size: 12px; line-height: 1; padding: 4px 8px; border-radius: 99px; border: 1px solid var(--line);
  color: var(--soft); margin-left: 6px; white-space: nowrap; }
.badge.dead, .badge.stopped { border-color: currentColor; color: var(--bad); }
.bar { display: flex; height: 10px; border-radius: 3px; overflow: hidden; }
.strip { display: flex; height: 34px; border-radius: 5px; overflow: hidden; background: var(--line); }
.strip i, .bar i, .time i { display: block; height: 100%; flex: none; min-width: 0; }
.strip i + i { box-shadow: inset 1px 0 0 color-mix(in srgb, var(--card) 55%, transparent); }
.row { display: grid; grid-template-columns: 92px minmax(0, 1fr) 90px; gap: 12px; align-items: center; margin-top: 10px; }
.row > :first-child { color: var(--soft); font-size: 13px; }
.row > :last-child { text-align: right; font-variant-numeric: tabular-nums; }
.code { background: var(--code); } .file { background: var(--file); } .heap { background: var(--heap); }
.stack { background: var(--stack); } .private { background: var(--private); } .shared { background: var(--shared); }
.special { background: var(--special); }
.reserved { background: repeating-linear-gradient(135deg, var(--reserved) 0 5px, transparent 5px 9px), var(--card); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 14px; padding: 0; list-style: none; color: var(--soft); font-size: 13px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
.task { margin-bottom: 16px; scroll-margin-top: 12px; }
.task:target { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 16px; margin: 10px 0 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: 12px; }
summary { cursor: pointer; color: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; border-bottom: 1px solid var(--line); }
th, td { padding: 5px 12px 5px 0; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.text { overflow-wrap: anywhere; min-width: 160px; }
td.gauge { min-width: 130px; width: 22%; vertical-align: middle; }
.time { display: flex; height: 34px; border-radius: 5px; overflow: hidden; background: var(--line); }
.freeze { background: var(--heap); } .copy { background: var(--private); } .write { background: var(--shared); }
.rest { background: var(--code); } .fork { background: var(--heap); }
footer { max-width: 1180px; margin: 40px auto 0; padding: 16px 24px 36px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) {
  main, header { padding-left: 14px; padding-right: 14px; }
  .leaf { grid-template-columns: minmax(0, 1fr) 80px; }
  .leaf .bar { display: none; }
}
@media print { body { background: #fff; } nav { display: none; } .card { break-inside: avoid; } }
`;
