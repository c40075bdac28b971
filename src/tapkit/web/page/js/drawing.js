// What canvases share: drawing once for each frame of the screen, and the cross that marks a place.

/** Something with a `draw()`, which is called once before the next frame of the screen, however often it is asked for. */
export class Drawn {
  request() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = null;
      this.draw();
    });
  }
}

/** Four strokes around (x, y), from `inner` to `outer` pixels away, dark below and white above: [width, colour] of each. */
export function cross(context, [x, y], inner, outer, strokes) {
  for (const [width, colour] of strokes) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + inner * dx, y + inner * dy);
      context.lineTo(x + outer * dx, y + outer * dy);
    }
    context.stroke();
  }
}
