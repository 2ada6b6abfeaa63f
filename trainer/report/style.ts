import { Markup } from './html.ts';

/** Light unless the reader's screen is dark; paper is always light. */
export const STYLE = new Markup(`
:root{color-scheme:light;--page:#f4f6f8;--card:#fff;--ink:#17202a;--muted:#566270;--line:#d9dfe5;--soft:#e9edf1;
--first:#1d63c4;--second:#b4530a;--good:#14713f;--good-soft:#e2f4e9;--bad:#b3261e;--bad-soft:#fdeae8;--right:#8db9f2;--wrong:#f3a583}
@media screen and (prefers-color-scheme:dark){:root{color-scheme:dark;--page:#0f1317;--card:#181d23;--ink:#e7ebef;--muted:#9caab7;--line:#313a44;--soft:#262e37;
--first:#6fb1ff;--second:#f3a15c;--good:#5fd08f;--good-soft:#15301f;--bad:#ff8f86;--bad-soft:#3a1a18;--right:#235a96;--wrong:#91431f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:32px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 4px}
h3{font-size:1rem;margin:28px 0 4px}
p{margin:0 0 12px;max-width:92ch;text-wrap:pretty}
a{color:var(--first)}
.muted,.lead{color:var(--muted)}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:16px 0 0;padding:0;font-size:.9rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:22px 24px 24px;margin:20px 0}
.verdict{border-left:8px solid var(--good);background:var(--good-soft)}
.verdict.failed{border-left-color:var(--bad);background:var(--bad-soft)}
.verdict h2{font-size:1.1rem;color:var(--good)}
.verdict.failed h2{color:var(--bad)}
.verdict p{font-size:1.2rem;line-height:1.45;margin:6px 0 0}
.verdict ul{margin:10px 0 0;padding-left:1.3em}
.tiles{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:12px;margin:20px 0 0;padding:0;list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tiles b{display:block;font-size:1.45rem;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums;white-space:nowrap}
.tiles span{display:block;font-size:.85rem;font-weight:600}
.tiles small{display:block;font-size:.8rem;line-height:1.35;color:var(--muted)}
.scroll{overflow-x:auto;margin:14px 0 0;position:relative;background:linear-gradient(90deg,var(--card) 30%,transparent) 0 0/32px 100% no-repeat local,
linear-gradient(-90deg,var(--card) 30%,transparent) 100% 0/32px 100% no-repeat local,linear-gradient(90deg,var(--line),transparent) 0 0/12px 100% no-repeat scroll,
linear-gradient(-90deg,var(--line),transparent) 100% 0/12px 100% no-repeat scroll}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--first);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums;overflow-wrap:normal}
caption span{display:inline-block;position:sticky;left:0;max-width:calc(100vw - 60px)}
caption{text-align:left;color:var(--muted);font-size:.85rem;padding-bottom:6px}
th,td{padding:7px 10px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{font-size:.8rem;color:var(--muted);font-weight:600;vertical-align:bottom;border-bottom-color:var(--muted)}
tbody th{font-weight:600;min-width:8.6em;overflow-wrap:anywhere}
.number{text-align:right;white-space:nowrap}
td small,th small{display:block;color:var(--muted);font-size:.8rem;font-weight:400;white-space:normal;min-height:1.4em}
tr.ours{background:var(--soft)}
tr.back td,tr.back th{color:var(--muted)}
.bar{display:block;height:8px;min-width:56px;border-radius:2px;background:var(--soft);overflow:hidden;margin-top:4px}
tr.ours .bar{background:var(--line)}
.bar i{display:block;height:100%;background:var(--first)}
.bar .wrong{background:var(--second)}
.gauge{min-width:150px;display:flex;align-items:center;gap:10px}
.gauge span:first-child{min-width:4em;text-align:right;white-space:nowrap}
.gauge .bar{flex:1;margin:0;min-width:36px}
.badge{display:inline-block;padding:0 8px;border-radius:9px;font-size:.8rem;background:var(--soft);white-space:nowrap}
.badge.back{background:var(--bad-soft);color:var(--bad)}
.funnel td{min-width:92px}
.funnel b{font-size:1.05rem;white-space:nowrap}
.arrow{color:var(--muted);font-weight:400}
.beside{display:flex;flex-wrap:wrap;gap:0 44px;align-items:flex-start}
.beside>*{min-width:0;max-width:100%}
.beside h3{margin-top:14px}
.beside>:last-child{flex:1 1 260px}
.matrix table{width:auto;border-spacing:2px;border-collapse:separate}
.matrix td{min-width:40px;text-align:center;border:0;border-radius:3px;padding:6px 5px;vertical-align:middle;white-space:nowrap;
background:color-mix(in srgb,var(--tint) var(--share),transparent)}
.matrix td.right{--tint:var(--right);font-weight:650}
.matrix td.wrong{--tint:var(--wrong)}
.matrix td.none{color:var(--muted);background:none}
.matrix th{border:0}
.matrix thead th{text-align:center;vertical-align:bottom;padding:4px}
.matrix tbody th{position:sticky;left:0;background:var(--card);max-width:260px;vertical-align:middle;z-index:1}
.matrix tbody th{min-width:0;white-space:nowrap}.matrix.long tbody th{min-width:15em;white-space:normal}
.name{display:flex;align-items:baseline}
.index{flex:none;width:2em;color:var(--muted);font-weight:400}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));gap:20px 28px;margin-top:14px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr));gap:20px 36px;align-items:start}
figure{margin:0;min-width:0;break-inside:avoid}
figcaption{font-weight:600;font-size:.92rem;margin-bottom:8px}
figcaption small{display:block;font-weight:400;color:var(--muted);font-size:.82rem}
.chart{display:block;width:100%;max-width:480px;height:auto;overflow:visible}
.chart text{font-size:11px;fill:var(--muted);font-family:inherit}
.chart .value{fill:var(--ink);font-size:11px;paint-order:stroke;stroke:var(--card);stroke-width:3px}
.grid{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.first{stroke:var(--first)}
.line.second{stroke:var(--second);stroke-dasharray:5 4}
.line.reference,.reference{stroke:var(--muted);stroke-width:1.2;stroke-dasharray:2 4;fill:none}
.dot{stroke:var(--card);stroke-width:1.5}
.dot.first{fill:var(--first)}
.dot.second{fill:var(--second)}
.bin{fill:var(--first);fill-opacity:.32}
.bin.few{fill-opacity:.1}
.mass{fill:var(--muted);fill-opacity:.55}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;margin:10px 0 0;padding:0;font-size:.85rem;color:var(--muted)}
.legend svg{width:22px;height:8px;margin-right:6px;vertical-align:middle}
.bullets{margin:10px 0 0;padding-left:1.2em}
details{margin-top:10px}
summary{cursor:pointer;font-size:.85rem;color:var(--muted);width:fit-content}
dl{display:grid;grid-template-columns:minmax(7em,max-content) minmax(0,1fr);gap:5px 20px;margin:12px 0 0;font-size:.92rem}
dt{color:var(--muted)}
dd{margin:0;font-variant-numeric:tabular-nums}
.note{font-size:.85rem;color:var(--muted);margin:10px 0 0}
footer{padding-bottom:36px;font-size:.85rem;color:var(--muted)}
@media print,(max-width:600px){thead th.number{white-space:normal}}
@media (max-width:600px){main,header,footer{padding-left:14px;padding-right:14px}section{padding:18px 14px}h1{font-size:1.45rem}.verdict p{font-size:1.08rem}
.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}th,td{padding:6px 7px}.funnel th,.funnel td{padding:6px 3px;font-size:.78rem}.funnel td{min-width:0}.funnel b{font-size:.84rem}.funnel .bar{min-width:30px}.funnel tbody th{min-width:0;overflow-wrap:normal;font-size:.8rem}.funnel thead th{font-size:.7rem}.funnel th small,.arrow{display:none}.matrix.long tbody th{max-width:42vw;min-width:38vw}.gauge{min-width:100px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
@page{margin:14mm 12mm}
@media print{:root{--page:#fff}body{font-size:10.5pt}main,header,footer{max-width:none;padding:0}header{padding-top:0}nav,details{display:none}
section{border:0;border-top:1px solid var(--line);border-radius:0;padding:14px 0 0;margin:14px 0}.verdict{border:1px solid var(--good);border-left-width:8px;padding:12px}.verdict.failed{border-color:var(--bad)}
h2,h3,caption,thead,.lead,.legend{break-after:avoid}p,tr,li,dl,.tiles,.scroll{break-inside:avoid}thead{display:table-header-group}.scroll{overflow:visible;background:none}table{font-size:8.5pt}.matrix td{min-width:0;padding:4px 3px}.charts{grid-template-columns:1fr 1fr;gap:12px 28px}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
`);
