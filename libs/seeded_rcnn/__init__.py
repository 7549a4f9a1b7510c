"""Detectron2 v0.6 whose training repeats bit for bit: a run is a function of its data, configuration and seed.

For whoever trains Detectron2's Mask R-CNN or PointRend and must be able to kill and resume a run, or to change the
number of loader workers, and get the same weights; or to divide a batch, and get the same up to rounding.

``stream``: which sample comes when, and its loading. ``mapper``: from files to model input. ``sampling``: a model with
seeds for each image and ignored instances. ``trainer``: a batch in parts. ``weights``: complete, of the right model.
``numerics``: precision, determinism. ``backbone``: fast on a CPU. All but ``trainer`` go with any Detectron2 trainer::

    from seeded_rcnn import mapper, sampling, stream  # importing makes the classes known to Detectron2

    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.PROPOSAL_GENERATOR.NAME = "SeededRCNN", "SeededRPN"
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_MASK_HEAD.NAME = "SeededROIHeads", "NegativesMaskHead"
    to_sample = mapper.InstanceMapper(build_augmentation(cfg, is_train=True), cfg.INPUT.FORMAT)
    samples = stream.TrainingSamples(images, instances, to_sample, seed=0)  # image and instance table of `scapes`
    loader = DataLoader(samples, batch_sampler=stream.batches(0, 1000, batch_size=8), collate_fn=list)
"""
