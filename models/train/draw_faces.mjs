// Draw faces for the cartoon head: one folder a style, 30 pictures each.
//
//     npm install --no-save facesjs@5 @dicebear/core@9 @dicebear/collection@9 @resvg/resvg-js@2
//     node models/train/draw_faces.mjs FOLDER
//
// Run it in an empty folder that holds a copy of this file; the packages are no part of the project. `facesjs` draws at
// random, so that its 30 faces differ from run to run; DiceBear's are told by their seeds.
import fs from 'node:fs';
import path from 'node:path';
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import { Resvg } from '@resvg/resvg-js';
import { faceToSvgString, generate } from 'facesjs';

const STYLES = ['adventurer', 'avataaars', 'bigEars', 'croodles', 'lorelei', 'micah', 'miniavs', 'notionists', 'openPeeps', 'personas', 'toonHead'];
const BACKGROUNDS = ['#e8e8e8', '#b6d0e8', '#ffffff', '#f0d9c0'];
const COUNT = 30;
const SIDE = 400;

function save(folder, style, number, svg) {
  const target = path.join(folder, style);
  fs.mkdirSync(target, { recursive: true });
  const picture = new Resvg(svg, { background: BACKGROUNDS[number % BACKGROUNDS.length], fitTo: { mode: 'width', value: SIDE } });
  fs.writeFileSync(path.join(target, `${number}.png`), picture.render().asPng());
}

const folder = process.argv[2];
for (let number = 0; number < COUNT; number++) {
  for (const style of STYLES) {
    save(folder, style, number, createAvatar(collection[style], { seed: `${style}-${number}`, size: SIDE, scale: 85 }).toString());
  }
  save(folder, 'facesjs', number, faceToSvgString(generate({}, { gender: number % 2 ? 'male' : 'female' })));
}
