/** The signs of this page's controls, drawn as paths. */

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8.5 6v12M15.5 6v12",
  back: "M11 7 6 12l5 5M18 7l-5 5 5 5",
  on: "M13 7l5 5-5 5M6 7l5 5-5 5",
  download: "M12 5v10M7.5 11 12 15.5 16.5 11M5.5 19h13",
  mute: "M5 9.5v5h3l4.5 4V5.5L8 9.5zM16.5 9.5l5 5M21.5 9.5l-5 5",
  sound: "M5 9.5v5h3l4.5 4V5.5L8 9.5zM16 9a4.5 4.5 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11",
  near: "M12 6v12M6 12h12",
  far: "M6 12h12",
};

/** @param {keyof typeof PATHS} name @returns {SVGElement} */
export function glyph(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
