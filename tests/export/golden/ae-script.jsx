// Made by tapkit. In After Effects: File > Scripts > Run Script File..., with the composition open.
// One null for each point; its position has a key on every frame on which the point was found.
// The null is invisible (opacity 0) where there is no key, and stays where it was (hold keys).
(function () {
    var facts = {"width": 320, "height": 180, "aspect": 1.0, "fps": 23.976023976023978, "frames": 12, "first": 0, "times": null, "path": "/footage/shot.mov"};

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
point("gap", [0,1,2,3,7,8,9,10,11], [[20.2500,150.0000],[30.2500,144.5000],[40.2500,140.0000],[50.2500,136.5000],[90.2500,132.5000],[100.2500,134.0000],[110.2500,136.5000],[120.2500,140.0000],[130.2500,144.5000]], [4]);
point("late start", [3,4,5,6,7,8,9,10,11], [[279.1250,36.7550],[272.0000,40.4000],[264.8750,44.5344],[257.7500,49.1060],[250.6250,54.0763],[243.5000,59.4156],[236.3750,65.1000],[229.2500,71.1096],[222.1250,77.4277]], []);
point("occluded", [0,1,2,3,4,8,9,10,11], [[160.0000,90.5000],[160.3750,94.3354],[160.7500,97.2318],[161.1250,98.4800],[161.5000,97.7744],[163.0000,84.4456],[163.3750,82.6798],[163.7500,82.8286],[164.1250,84.8557]], [5]);

    app.endUndoGroup();
})();
