// Made by tapkit. In After Effects: File > Scripts > Run Script File..., with the composition open.
// One null for each point; its position has a key on every frame on which the point was found.
// The null is invisible (opacity 0) where there is no key, and stays where it was (hold keys).
(function () {
    var facts = /*FACTS*/;

    function composition() {
        var item = app.project.activeItem;
        if (item && item instanceof CompItem) {
            if (item.width !== facts.width || item.height !== facts.height) {
                alert("The composition is " + item.width + " x " + item.height + ", the tracked video " +
                    facts.width + " x " + facts.height + ": the points will not fit.");
            }
            return item;
        }
        return app.project.items.addComp("tapkit", facts.width, facts.height, facts.aspect,
            facts.frames / facts.fps, facts.fps);
    }

    function seconds(frame) {
        if (facts.times) {
            return facts.times[frame];
        }
        return (frame + facts.first) * comp.frameDuration;
    }

    function point(name, frames, positions, gaps) {
        var layer = comp.layers.addNull(), times = [], i, k;
        for (i = 0; i < frames.length; i++) {
            times.push(seconds(frames[i]));
        }
        layer.name = name;
        var position = layer.property("Transform").property("Position");
        position.setValuesAtTimes(times, positions);
        var opacity = layer.property("Transform").property("Opacity");
        var at = [], values = [];
        if (frames[0] > 0) {
            at.push(seconds(0));
            values.push(0);
        }
        at.push(times[0]);
        values.push(100);
        for (i = 0; i < gaps.length; i++) {
            k = gaps[i];
            position.setInterpolationTypeAtKey(k, KeyframeInterpolationType.HOLD);
            at.push(seconds(frames[k - 1] + 1), times[k]);
            values.push(0, 100);
        }
        if (frames[frames.length - 1] + 1 < facts.frames) {
            at.push(seconds(frames[frames.length - 1] + 1));
            values.push(0);
        }
        opacity.setValuesAtTimes(at, values);
        for (i = 1; i <= at.length; i++) {
            opacity.setInterpolationTypeAtKey(i, KeyframeInterpolationType.HOLD);
        }
    }

    app.beginUndoGroup("tapkit: tracked points");
    var comp = composition();
/*POINTS*/
    app.endUndoGroup();
})();
