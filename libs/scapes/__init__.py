"""Read, check and score instance segmentation data in the format of Cityscapes. Needs no deep learning framework.

For everyone who trains or evaluates on Cityscapes, on a data set written in its format, or on raw Synscapes or
UrbanSyn: image and instance tables as pandas frames, every fault of a tree in one table, and the AP of the official
evaluator, with bootstrap intervals and by instance size::

    from scapes import ap, bootstrap, cityscapes, instances, records, verify

    print(verify.summarize(verify.verify_dataset("/data/cityscapes")))  # what is wrong with the files, if anything
    images = cityscapes.read_images("/data/cityscapes", "val")  # one row per image
    table = instances.instance_table(images)  # one row per instance: class, area, box
    matched = records.match_data_set(images, "predictions.parquet", instances=table)
    print(bootstrap.intervals(bootstrap.draw(ap.outcomes(matched))))  # AP by class, with 95 % intervals over the images

Predictions are written by :func:`scapes.predictions.write_predictions`; :mod:`scapes.coco` and :mod:`scapes.submit`
export them for other evaluators and the test server. :mod:`scapes.staging` copies a data set to a node's disk.
"""
