"""Read, check and score instance segmentation data in the format of Cityscapes. Needs no deep learning framework::

    from scapes import bootstrap, cityscapes, instances, match, verify

    print(verify.summarize(verify.verify_dataset("/data/cityscapes")))  # what is wrong with the files, if anything
    images = cityscapes.read_images("/data/cityscapes", "val")  # one row per image
    table = instances.instance_table(images)  # one row per instance: class, area, box
    records = match.match_data_set(images, "predictions.parquet")
    print(bootstrap.intervals(bootstrap.draw(records)))  # AP by class, with 95 % intervals over the images

:mod:`scapes.exchange` exports predictions for the test server and other evaluators, and reads them.
"""
